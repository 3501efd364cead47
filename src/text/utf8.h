// UTF-8: what is valid, and what stands in for what is not.
#ifndef CSM_TEXT_UTF8_H_
#define CSM_TEXT_UTF8_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace csm::text {

struct DecodedCodePoint {
  char32_t value = 0;
  int length = 0;      ///< in bytes
  bool valid = false;  ///< if not, `length` bytes are one maximal subpart of an ill-formed sequence
};

/// The code point that `text` (not empty) begins with.
DecodedCodePoint DecodeFirst(std::string_view text);
/// The code point that `text` (not empty, valid UTF-8) ends with.
DecodedCodePoint DecodeLast(std::string_view text);
/// Appends a code point that is not a surrogate.
void AppendUtf8(char32_t code_point, std::string& text);

/// The length of the longest valid prefix.
size_t ValidUtf8Prefix(std::string_view text);
/// U+FFFD per maximal ill-formed subpart (Unicode 15, section 3.9, table 3-8), which is what
/// Python's errors="replace" and Rust's from_utf8_lossy do.
std::string ReplaceInvalidUtf8(std::string_view text);

}  // namespace csm::text

#endif  // CSM_TEXT_UTF8_H_

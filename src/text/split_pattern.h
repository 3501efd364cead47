// Split patterns of tokenizer.json (Oniguruma's syntax and Unicode version) for PCRE2.
#ifndef CSM_TEXT_SPLIT_PATTERN_H_
#define CSM_TEXT_SPLIT_PATTERN_H_

#include <string>
#include <string_view>

namespace csm::text {

/// Rewrites a pattern so that PCRE2 (UTF, UCP) matches exactly what Oniguruma does in `tokenizers`:
/// \s is written out (PCRE2's has U+180E too), \p{L} and \p{N} get what was added after Unicode 14.
/// Whatever could differ otherwise is refused: throws FormatError with `where`, what and its place.
std::string TranslateSplitPattern(std::string_view pattern, std::string_view where);

}  // namespace csm::text

#endif  // CSM_TEXT_SPLIT_PATTERN_H_

// GPT-2's byte-level alphabet: the 256 bytes written as 256 printable characters, so that a
// vocabulary of byte strings can be stored as text ("Ġthe" is " the").
#ifndef CSM_TEXT_BYTE_LEVEL_H_
#define CSM_TEXT_BYTE_LEVEL_H_

#include <optional>
#include <string>
#include <string_view>

namespace csm::text {

/// Appends the bytes that a token of the alphabet stands for. False, and nothing is appended, if
/// a character of it is not of the alphabet.
bool AppendBytesOfToken(std::string_view token, std::string& bytes);
std::optional<std::string> BytesOfToken(std::string_view token);

/// The inverse: the token of any bytes.
std::string TokenOfBytes(std::string_view bytes);

}  // namespace csm::text

#endif  // CSM_TEXT_BYTE_LEVEL_H_

// JSON with messages that name the file and the key at fault (nlohmann/json does the parsing).
#ifndef CSM_BASE_JSON_H_
#define CSM_BASE_JSON_H_

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace csm {

using Json = nlohmann::ordered_json;

/// Parses `text`; `source` (a file name) is used in messages. Throws FormatError on a syntax
/// error, on invalid UTF-8, on nesting deeper than 100 and on objects of more than `max_keys`:
/// ordered objects look a key up by walking, so one of n keys costs n^2. csm-1b's tensor index has
/// 538; 10,000 take a quarter of a second.
inline constexpr size_t kMaxJsonKeys = 10000;
Json ParseJson(std::string_view text, std::string_view source, size_t max_keys = kMaxJsonKeys);
Json ParseJsonFile(const std::filesystem::path& path);

/// The parser's sentence about a syntax error, for messages.
std::string_view SyntaxError(const nlohmann::json::exception& error);

/// "an integer", "a list", …: the value's type for messages.
std::string_view JsonTypeName(const Json& value);

}  // namespace csm

#endif  // CSM_BASE_JSON_H_

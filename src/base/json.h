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
/// error, on invalid UTF-8 and on nesting deeper than 100.
Json ParseJson(std::string_view text, std::string_view source);
Json ParseJsonFile(const std::filesystem::path& path);

/// "an integer", "a list", …: the value's type for messages.
std::string_view JsonTypeName(const Json& value);

}  // namespace csm

#endif  // CSM_BASE_JSON_H_

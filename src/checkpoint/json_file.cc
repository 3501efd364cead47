#include "checkpoint/json_file.h"

#include <system_error>

#include "base/atomic_file.h"
#include "base/error.h"

namespace csm::checkpoint {

Json ReadConfigJson(const std::filesystem::path& path, size_t max_bytes) {
  return ParseConfigJson(ReadFile(path, max_bytes), path.string());
}

Json ReadOptionalConfigJson(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return Json::object();
  return ReadConfigJson(path);
}

Json ParseConfigJson(std::string_view text, std::string_view source) {
  Json json = ParseJson(text, source);
  if (!json.is_object()) {
    Fail<FormatError>("{} holds {}, expected an object", source, JsonTypeName(json));
  }
  return json;
}

}  // namespace csm::checkpoint

#include "checkpoint/json_file.h"

#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/gguf.h"

namespace csm::checkpoint {

namespace {

// Files like this one are within a file.
bool IsInGguf(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path.parent_path(), error);
}

}  // namespace

std::string GgufKeyOf(const std::string& name) {
  return name == "tokenizer.json" ? "tokenizer.huggingface.json" : "csm.file." + name;
}

std::string ReadModelFile(const std::filesystem::path& path, size_t max_bytes) {
  if (!IsInGguf(path)) return ReadFile(path, max_bytes);
  auto text = ReadGgufString(path.parent_path(), GgufKeyOf(path.filename().string()));
  if (!text) {
    Fail<FileError>("{} has no {}, expected a file made by \"csm quantize\"",
                    path.parent_path().string(), path.filename().string());
  }
  if (text->size() > max_bytes) {
    Fail<FormatError>("{} is larger than {} bytes", path.string(), max_bytes);
  }
  return std::move(*text);
}

bool ModelFileExists(const std::filesystem::path& path) {
  std::error_code error;
  if (!IsInGguf(path)) return std::filesystem::exists(path, error);
  return ReadGgufString(path.parent_path(), GgufKeyOf(path.filename().string())).has_value();
}

Json ReadConfigJson(const std::filesystem::path& path, size_t max_bytes) {
  return ParseConfigJson(ReadModelFile(path, max_bytes), path.string());
}

Json ReadOptionalConfigJson(const std::filesystem::path& path) {
  if (!ModelFileExists(path)) return Json::object();
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

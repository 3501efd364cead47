// The small JSON files of a checkpoint.
#ifndef CSM_CHECKPOINT_JSON_FILE_H_
#define CSM_CHECKPOINT_JSON_FILE_H_

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.h"

namespace csm::checkpoint {

/// Configs have 5 kB, csm-1b's shard index 60 kB. What is far beyond is no config.
constexpr size_t kMaxConfigBytes = size_t{256} << 10;
constexpr size_t kMaxIndexBytes = size_t{512} << 10;

/// A file of a model: DIR/NAME, or what a GGUF file carries of it (FILE.gguf/NAME). Throws
/// FileError or FormatError.
std::string ReadModelFile(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 30);
bool ModelFileExists(const std::filesystem::path& path);
/// The key that a GGUF file has a model's file under.
std::string GgufKeyOf(const std::string& name);

/// Reads a JSON object. Throws FileError or FormatError.
Json ReadConfigJson(const std::filesystem::path& path, size_t max_bytes = kMaxConfigBytes);

/// The same; an empty object if there is no such file.
Json ReadOptionalConfigJson(const std::filesystem::path& path);

/// Parses a JSON object; `source` is named in messages. Throws FormatError.
Json ParseConfigJson(std::string_view text, std::string_view source);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_JSON_FILE_H_

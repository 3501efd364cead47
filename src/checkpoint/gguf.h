// GGUF, ggml's file format for models: one file with metadata and tensors.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
#ifndef CSM_CHECKPOINT_GGUF_H_
#define CSM_CHECKPOINT_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/mapped_tensors.h"

namespace csm::checkpoint {

/// What a file says of itself. Strings and tensors point into the file; other metadata is dropped.
struct GgufContent {
  std::map<std::string_view, std::string_view> strings;
  std::vector<TensorView> tensors;  ///< sorted by name
};

/// Reads a whole file in memory. Types other than F32, F16, BF16, Q8_0 and IQ4_NL are other_dtype.
/// Throws FormatError that starts with `source`.
GgufContent ParseGguf(std::span<const std::byte> file, std::string_view source);

/// Tensors of one mapped file.
class GgufFile final : public MappedTensors {
 public:
  explicit GgufFile(const std::filesystem::path& path);

  /// Quantization needs a row's inputs side by side.
  bool HasTransposedHeads() const override { return true; }
};

/// The string that a GGUF file has under `key`; none: nullopt. Throws FileError, FormatError.
std::optional<std::string> ReadGgufString(const std::filesystem::path& path, std::string_view key);

/// A tensor to write. `write` is called once, in order, and gives the bytes piece by piece to the
/// function that it is called with; together they must be `num_bytes`.
struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  ///< row-major, as everywhere here; the file has it reversed
  DType dtype = DType::kF32;
  uint64_t num_bytes = 0;
  std::function<void(const std::function<void(std::span<const std::byte>)>& sink)> write;
};

/// Writes `path` atomically with these string values and tensors. Streams. Throws FileError, and
/// what the tensors' `write` throws; then there is no file.
void WriteGguf(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, std::string>>& strings,
               std::span<const GgufTensor> tensors);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_GGUF_H_

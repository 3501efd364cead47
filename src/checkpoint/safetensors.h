// The safetensors file format: 8 bytes of header length (little endian), a JSON header, the data.
#ifndef CSM_CHECKPOINT_SAFETENSORS_H_
#define CSM_CHECKPOINT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/mapped_tensors.h"
#include "checkpoint/safetensors_header.h"

namespace csm::checkpoint {

/// The reference implementation's limit on the JSON header.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

/// Tensors of a whole file in memory, sorted by name; their bytes point into `file`. Accepts what
/// the reference implementation (safetensors 0.8, Rust) accepts, except duplicate names, unknown
/// keys beside a tensor's three, and dimensions above 2^63 - 1: data must follow the header without
/// hole or overlap up to the file's end, and a tensor's bytes must be those of its shape and type.
/// Throws FormatError that starts with `source`.
/// `metadata` gets what the header's __metadata__ says; null: not wanted.
std::vector<TensorView> ParseSafetensors(std::span<const std::byte> file, std::string_view source,
                                         SafetensorsMetadata* metadata = nullptr);

/// Tensors of one mapped file.
class SafetensorsFile final : public MappedTensors {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);
};

/// One tensor to write: its values, as they are or converted.
struct TensorToWrite {
  const TensorView* tensor = nullptr;
  DType dtype = DType::kF32;  ///< type to write; ignored for a tensor of another type than DType
};

/// Writes `path` atomically, tensors in the given order. {"format": "pt"} is the metadata that
/// transformers asks for. Streams: holds a few MB, finds each tensor's bytes in `store` when their
/// turn comes and releases them; null: the tensors are of no store. Throws FileError, or what
/// `progress` throws; then nothing is left.
void WriteSafetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                      const TensorStore* store,
                      const SafetensorsMetadata& metadata = {{"format", "pt"}},
                      const ByteProgress& progress = {});

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_SAFETENSORS_H_

// The tensors of a checkpoint, found by name, without copying them.
#ifndef CSM_CHECKPOINT_TENSOR_STORE_H_
#define CSM_CHECKPOINT_TENSOR_STORE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "csm/csm.hpp"

namespace csm::checkpoint {

/// A tensor in mapped memory, row-major; valid while its TensorStore lives.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  /// Set if the stored type is none of DType ("I64", "F8_E4M3", …): then `dtype` says nothing and
  /// the tensor cannot be a weight, only be copied as bytes.
  std::string other_dtype = {};
};

/// Told bytes done so far and in all, every few MB.
using ByteProgress = std::function<void(int64_t done, int64_t total)>;

/// What an adapter adds to a matrix [outputs, inputs]: scale * B A.
struct LowRank {
  int64_t outputs = 0, inputs = 0, rank = 0;
  std::vector<float> a;  ///< [rank, inputs]
  std::vector<float> b;  ///< [outputs, rank]
  double scale = 1;      ///< lora_alpha / rank
};

/// All tensors of one safetensors file, or of the shards that an index names. Immutable, safe to
/// share among threads.
class TensorStore {
 public:
  virtual ~TensorStore() = default;
  virtual const TensorView* Find(std::string_view name) const = 0;  ///< null if there is none
  /// Its name, type and shape. The bytes may be missing: a store that computes values does so in
  /// Find, and keeps them until they are released.
  virtual const TensorView* FindShape(std::string_view name) const { return Find(name); }
  virtual std::vector<std::string> Names() const = 0;  ///< sorted
  /// The tensor will not be read again: its pages may leave memory. Reading it stays correct.
  virtual void Release(const TensorView& tensor) const = 0;
  virtual const std::filesystem::path& path() const = 0;  ///< for messages
  /// Whether codebooks_head is [codebooks - 1, vocab_size, hidden_size] and not, as HF stores it,
  /// [codebooks - 1, hidden_size, vocab_size].
  virtual bool HasTransposedHeads() const { return false; }
  /// What is to be added to a matrix, and is not in its values; null: nothing.
  virtual const LowRank* FindTerm(std::string_view /*name*/) const { return nullptr; }
};

/// Opens the weights of a GGUF file, or of a model folder: the file or index that config key
/// `transformers_weights` names, else model.safetensors, else model.safetensors.index.json. Throws
/// FileError or FormatError; a file in Sesame's original layout is said to be that.
std::shared_ptr<const TensorStore> OpenTensors(const std::filesystem::path& dir);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_TENSOR_STORE_H_

// Hands a model its weights by name, in the form that the kernels read.
#ifndef CSM_CHECKPOINT_WEIGHT_LOADER_H_
#define CSM_CHECKPOINT_WEIGHT_LOADER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/tensor_store.h"
#include "kernels/matrix_view.h"

namespace csm::checkpoint {

/// Not thread-safe; used while a model is built. Everything handed out stays valid as long as the
/// model keeps memory(). Throws FormatError naming the tensor with expected and found shape.
class WeightLoader {
 public:
  /// `dtype`: type to convert matrices to, none: as stored (then they stay mapped, not copied).
  /// A quantized one is made by the threads of `pool`, if there is one.
  explicit WeightLoader(std::shared_ptr<const TensorStore> store,
                        std::optional<DType> dtype = std::nullopt, ThreadPool* pool = nullptr);
  ~WeightLoader();

  /// Tensor `name` of shape [rows, cols]; converted once, however often it is asked for.
  kernels::MatrixView Matrix(std::string_view name, int64_t rows, int64_t cols);

  /// Tensor `name` of shape [count, cols, rows], as `count` matrices [rows, cols]: transposed into
  /// memory of their own, unless the file has them so (TensorStore::HasTransposedHeads).
  std::vector<kernels::MatrixView> Heads(std::string_view name, int64_t count, int64_t rows,
                                         int64_t cols);

  /// Tensor `name` of shape [n] in f32; e.g. a norm's weight or a bias.
  std::span<const float> Vector(std::string_view name, int64_t n);

  /// A copy of tensor `name` in f32, of exactly this shape, for models that rearrange it.
  std::vector<float> Floats(std::string_view name, std::span<const int64_t> shape);

  /// Keeps rearranged weights alive together with the rest: a matrix [rows, cols] in f32, or in
  /// the loader's dtype.
  kernels::MatrixView Adopt(std::vector<float> data, int64_t rows, int64_t cols);

  /// Owner of all that was handed out so far and later.
  std::shared_ptr<const void> memory() const;

 private:
  struct Memory;
  /// The type that a matrix of `cols` columns gets: quantized only if its rows divide into blocks.
  DType TypeFor(DType stored, size_t cols) const;
  /// The matrix [rows, cols] that these bytes are: where it is if it can be read there, else a
  /// copy. `is_releasable`: the bytes are the store's, and their pages may leave memory.
  kernels::MatrixView Load(const TensorView& stored, size_t rows, size_t cols, bool is_releasable);
  /// Packs rows, quantizing them unless they are stored as `dtype`.
  void PackRows(const TensorView& stored, DType dtype, size_t cols, std::byte* to);
  const TensorView& Get(std::string_view name, std::span<const int64_t> shape) const;
  const TensorView& GetFloats(std::string_view name, std::span<const int64_t> shape) const;
  std::shared_ptr<Memory> memory_;
  std::optional<DType> dtype_;
  ThreadPool* pool_;
  std::vector<float> rows_f32_;                        // of PackRows
  std::vector<std::byte> quantized_;                   // of PackRows
  std::map<std::string, kernels::MatrixView> loaded_;  // Matrix() by name
};

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_WEIGHT_LOADER_H_

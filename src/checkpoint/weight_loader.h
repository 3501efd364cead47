// Hands a model its weights by name, in the form that the kernels read.
#ifndef CSM_CHECKPOINT_WEIGHT_LOADER_H_
#define CSM_CHECKPOINT_WEIGHT_LOADER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
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
  /// `dtype`: type to convert matrices and tables to, none: as stored. Matrices are packed, and
  /// converted, by the threads of `pool`, if there is one. `precision`: of products with them.
  explicit WeightLoader(std::shared_ptr<const TensorStore> store,
                        std::optional<DType> dtype = std::nullopt, ThreadPool* pool = nullptr,
                        Precision precision = Precision::kExact);
  ~WeightLoader();

  /// Tensor `name` of shape [rows, cols] to multiply by: packed.
  kernels::PackedMatrix Matrix(std::string_view name, int64_t rows, int64_t cols);

  /// What an adapter adds to the product with matrix `name`, if it is not in the matrix itself:
  /// B (A x), in f32.
  struct LowRankTerm {
    kernels::PackedMatrix a;  ///< [rank, cols]
    kernels::PackedMatrix b;  ///< [rows, rank], scaled
  };
  std::optional<LowRankTerm> Term(std::string_view name);

  /// Tensor `name` of shape [rows, cols] to look rows up in: mapped where it lies, unless it has to
  /// be converted; converted once, however often it is asked for (tied embeddings).
  kernels::MatrixView Table(std::string_view name, int64_t rows, int64_t cols);

  /// Tensor `name` of shape [count, cols, rows] (TensorStore::HasTransposedHeads: [count, rows,
  /// cols]) as `count` matrices [rows, cols].
  std::vector<kernels::PackedMatrix> Heads(std::string_view name, int64_t count, int64_t rows,
                                           int64_t cols);

  /// Tensor `name` of shape [n] in f32; e.g. a norm's weight or a bias.
  std::span<const float> Vector(std::string_view name, int64_t n);

  /// A copy of tensor `name` in f32, of exactly this shape, for models that compute with it.
  std::vector<float> Floats(std::string_view name, std::span<const int64_t> shape);

  /// Writes into `sources` for each column of row `row` which element of the stored tensor it is,
  /// or kZero.
  using RowSources = std::function<void(size_t row, std::span<size_t> sources)>;
  static constexpr size_t kZero = SIZE_MAX;

  /// Tensor `name` of this shape, rearranged to a matrix [rows, cols]; `sources` is called by
  /// several threads.
  kernels::PackedMatrix Rearranged(std::string_view name, std::span<const int64_t> shape,
                                   size_t rows, size_t cols, const RowSources& sources);

  /// Packs computed weights [rows, cols], in f32, and keeps them alive together with the rest.
  kernels::PackedMatrix Adopt(std::span<const float> data, size_t rows, size_t cols);

  /// Owner of all that was handed out so far and later.
  std::shared_ptr<const void> memory() const;

 private:
  struct Memory;
  /// The type that a matrix of `cols` columns gets: quantized only if its rows divide into blocks.
  DType TypeFor(DType stored, size_t cols) const;
  /// Converts all elements of a tensor, piece by piece.
  void ConvertAll(const TensorView& tensor, std::byte* to, DType dtype);
  /// Packs a matrix, piece by piece. `is_releasable`: the bytes are the store's, and their pages
  /// may leave memory.
  kernels::PackedMatrix Pack(const TensorView& stored, DType dtype, size_t rows, size_t cols,
                             bool is_releasable);
  /// Packs some rows, a multiple of kStripRows unless they are the last.
  void PackRows(const TensorView& stored, DType dtype, size_t cols, std::byte* to);
  /// Calls task(i) for i in [0, count) on the pool's threads, if there is one.
  template <typename Task>
  void ForEach(size_t count, const Task& task);
  const TensorView& Get(std::string_view name, std::span<const int64_t> shape) const;
  const TensorView& GetFloats(std::string_view name, std::span<const int64_t> shape) const;
  std::shared_ptr<Memory> memory_;
  std::optional<DType> dtype_;
  ThreadPool* pool_;
  Precision precision_;
  // Scratch: the tasks of the pool may not fail to get memory.
  std::vector<float> values_;
  std::vector<std::byte> converted_, rearranged_;
  std::vector<size_t> sources_;
  std::map<std::string, kernels::MatrixView> tables_;  // by name
};

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_WEIGHT_LOADER_H_

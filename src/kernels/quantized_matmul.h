// Products with quantized weights: activations are rounded to int8 in blocks of 32, products and
// sums within a block are exact integers.
#ifndef CSM_KERNELS_QUANTIZED_MATMUL_H_
#define CSM_KERNELS_QUANTIZED_MATMUL_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul_task.h"
#include "kernels/packed.h"

namespace csm::kernels {

/// Rows of x as int8: x = scale * q in each block, scale = largest |x| / 127, rounded to nearest
/// even. A block that holds NaN or infinity has the scale NaN, so that it shows in every output.
struct QuantizedRows {
  const int8_t* q = nullptr;             ///< [rows, tiles * kTileCols]
  const float* scales = nullptr;         ///< [rows, tiles * 2]
  const int32_t* corrections = nullptr;  ///< [rows, tiles * 2]: -128 * sum of a block's q
  size_t num_rows = 0;
  size_t num_tiles = 0;

  /// Rows [first, first + count).
  // Always inline, as TileBytes (packed.h).
  [[gnu::always_inline]] QuantizedRows Part(size_t first, size_t count) const {
    const size_t tiles = first * num_tiles;
    return {q + tiles * kTileCols, scales + tiles * 2, corrections + tiles * 2, count, num_tiles};
  }
};

/// A buffer that QuantizedRows point into.
class QuantizedBuffer {
 public:
  /// Quantizes rows of `cols` (a multiple of kBlock) floats; valid until the next call.
  QuantizedRows Quantize(const RowsView& x, size_t cols, ThreadPool& pool);

 private:
  std::vector<int8_t> q_;
  std::vector<float> scales_;
  std::vector<int32_t> corrections_;
};

/// Some strips of a product, for all rows of x. Every output is
///   sum over blocks, in order, of fma(float(exact integer dot product), w_scale * x_scale, sum)
/// and so has the same bits on every instruction set, whatever else is computed along with it.
struct QuantizedTask : StripTask {
  QuantizedRows x;
};

using QuantizedKernel = void (*)(const QuantizedTask& task);

/// The specification, in plain loops.
void RunQuantizedScalar(const QuantizedTask& task);

struct QuantizedTarget {
  const char* name;
  QuantizedKernel run;
  /// Multiplies in registers only, as fast as the instructions allow; counts multiply-adds. The
  /// result keeps the work alive. Null for plain loops.
  int32_t (*multiply_many)(size_t rounds, size_t& num_mul_adds);
};

/// The kernels that this machine can run, best first; the last is RunQuantizedScalar.
std::span<const QuantizedTarget> QuantizedTargets();

}  // namespace csm::kernels

#endif  // CSM_KERNELS_QUANTIZED_MATMUL_H_

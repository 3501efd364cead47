// Products with bf16 weights whose x is rounded to bf16 too (`fast` precision): twice the
// multiply-adds a cycle on processors with AVX512-BF16.
#ifndef CSM_KERNELS_BF16_MATMUL_H_
#define CSM_KERNELS_BF16_MATMUL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul_task.h"
#include "kernels/packed.h"

namespace csm::kernels {

/// Rows of x in bf16, to nearest even; of an odd number of columns the last pair has a zero.
struct Bf16Rows {
  const uint16_t* data = nullptr;  ///< [rows, pairs * 2]
  size_t num_rows = 0;
  size_t num_pairs = 0;

  /// Rows [first, first + count).
  Bf16Rows Part(size_t first, size_t count) const {
    return {data + first * num_pairs * 2, count, num_pairs};
  }
};

/// A buffer that Bf16Rows point into.
class Bf16Buffer {
 public:
  /// Rounds rows of `cols` floats; valid until the next call.
  Bf16Rows Round(const RowsView& x, size_t cols, ThreadPool& pool);

 private:
  std::vector<uint16_t> data_;
};

/// Some strips of a product, for all rows of x. Every output is a sum in f32 over pairs of columns,
/// in order, of the pair's two products; how a pair is rounded is the instruction's affair, and
/// numbers below 2^-126 count as 0.
struct Bf16Task : StripTask {
  Bf16Rows x;
};

/// Whether this machine has RunBf16's instruction. Without it, products are exact.
bool HasBf16Products();

void RunBf16(const Bf16Task& task);

/// As QuantizedTarget::multiply_many.
float MultiplyManyBf16(size_t rounds, size_t& num_mul_adds);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_BF16_MATMUL_H_

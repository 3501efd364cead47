// Storing the outputs of a strip that are in one vector.
#ifndef CSM_KERNELS_STRIP_STORE_AVX512_H_
#define CSM_KERNELS_STRIP_STORE_AVX512_H_

#include <immintrin.h>

#include "kernels/strip_store.h"

namespace csm::kernels {
namespace {  // strip_store.h says why

/// StoreStrip, which one by one would take 3 % of a prompt.
[[gnu::always_inline]] inline void StoreSums(const StripTask& task, size_t row, size_t strip,
                                             __m512 sums) {
  const size_t first = strip * kStripRows;
  const size_t count = Smaller(kStripRows, task.num_outputs - first);
  const auto mask = static_cast<__mmask16>(0xFFFFU >> (kStripRows - count));
  float* y = task.y + row * task.y_stride + first;
  if (task.accumulate) sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(mask, y));
  if (task.bias != nullptr) {
    sums = _mm512_add_ps(sums, _mm512_maskz_loadu_ps(mask, task.bias + first));
  }
  _mm512_mask_storeu_ps(y, mask, sums);
}

}  // namespace
}  // namespace csm::kernels

#endif  // CSM_KERNELS_STRIP_STORE_AVX512_H_

// Storing the outputs of a strip, alike on all instruction sets.
#ifndef CSM_KERNELS_STRIP_STORE_H_
#define CSM_KERNELS_STRIP_STORE_H_

#include "kernels/quantized_matmul.h"

namespace csm::kernels {

// Of each file its own: of functions with external linkage the linker keeps one copy for all, and
// that could be the one with instructions that the processor at hand does not have. For the same
// reason nothing of the standard library is called here.
namespace {

inline size_t Smaller(size_t a, size_t b) { return a < b ? a : b; }

/// y = sum (+ y) (+ bias), in this order, for the outputs of strip `strip` that there are.
inline void StoreStrip(const StripTask& task, size_t row, size_t strip, const float* sums) {
  const size_t first = strip * kStripRows;
  const size_t count = Smaller(kStripRows, task.num_outputs - first);
  float* y = task.y + row * task.y_stride + first;
  for (size_t i = 0; i < count; ++i) {
    float sum = sums[i];
    if (task.accumulate) sum += y[i];
    if (task.bias != nullptr) sum += task.bias[first + i];
    y[i] = sum;
  }
}

}  // namespace
}  // namespace csm::kernels

#endif  // CSM_KERNELS_STRIP_STORE_H_

// The piece of a product that one thread computes, between matmul.cc (which cuts) and the files
// that compute: matmul-inl.h, quantized_matmul_*.cc and bf16_matmul_*.cc.
#ifndef CSM_KERNELS_MATMUL_TASK_H_
#define CSM_KERNELS_MATMUL_TASK_H_

#include <cstddef>

#include "kernels/matmul.h"

namespace csm::kernels {

/// Some strips of a product and what becomes of their outputs; what x is depends on the weights.
struct StripTask {
  const std::byte* strips = nullptr;
  DType dtype = DType::kF32;
  size_t num_outputs = 0;       ///< of these strips
  const float* bias = nullptr;  ///< of the first of them, or null
  float* y = nullptr;           ///< of the first row and output
  size_t y_stride = 0;
  bool accumulate = false;
};

/// Weights that are f32, f16 or bf16, for some rows of x.
struct MatMulTask : StripTask {
  RowsView x;
  size_t cols = 0;
};

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATMUL_TASK_H_

// The piece of a product that one thread computes, between matmul.cc (which cuts) and matmul-inl.h
// (which computes).
#ifndef CSM_KERNELS_MATMUL_TASK_H_
#define CSM_KERNELS_MATMUL_TASK_H_

#include <cstddef>

#include "kernels/matmul.h"

namespace csm::kernels {

/// Some strips of a product whose weights are f32, f16 or bf16, for some rows of x.
struct MatMulTask {
  RowsView x;
  const std::byte* strips;
  DType dtype;
  size_t cols;
  size_t num_outputs;  ///< of these strips
  const float* bias;   ///< of the first of them, or null
  float* y;            ///< of the first row and output
  size_t y_stride;
  bool accumulate;
};

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATMUL_TASK_H_

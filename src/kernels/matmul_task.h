// The piece of a product that one thread computes, between matmul.cc (which cuts) and matmul-inl.h
// (which computes).
#ifndef CSM_KERNELS_MATMUL_TASK_H_
#define CSM_KERNELS_MATMUL_TASK_H_

#include <cstddef>

#include "kernels/matmul.h"

namespace csm::kernels {

constexpr size_t kMaxTileRows = 6;

/// Columns of weights that are widened at once; kOutputsPerTask rows of them.
constexpr size_t kBlockCols = 1024;
constexpr size_t kOutputsPerTask = 32;

struct MatMulTask {
  RowsView x;         ///< at most kRowsPerPass rows
  MatrixView weight;  ///< at most kOutputsPerTask rows when there are more than kMaxTileRows of x
  const float* bias;  ///< of the first of these outputs, or null
  float* y;           ///< of the first row and output
  size_t y_stride;
  bool accumulate;
};

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATMUL_TASK_H_

// The piece of a product that one thread computes, between matmul.cc (which cuts) and matmul-inl.h
// (which computes).
#ifndef CSM_KERNELS_MATMUL_TASK_H_
#define CSM_KERNELS_MATMUL_TASK_H_

#include <cstddef>

#include "kernels/matmul.h"

namespace csm::kernels {

/// Rows of x in a register tile, at most.
constexpr size_t kMaxTileRows = 6;

/// A block of weights: columns and outputs, and how far apart its packed rows are: one cache line
/// more than the columns, so that rows of a tile fall on different cache sets.
constexpr size_t kBlockCols = 1024;
constexpr size_t kBlockOutputs = 64;
constexpr size_t kPackedStride = kBlockCols + 16;

/// What a thread needs besides x, weights and y: 0.8 MB, which fits a second-level cache.
struct MatMulScratch {
  alignas(64) float x[kMaxTileRows * kPackedStride];
  alignas(64) float weights[kBlockOutputs * kPackedStride];
  alignas(64) float carry[kRowsPerPass * kBlockOutputs * 16];  // 16: lanes of AVX-512
};

struct MatMulTask {
  RowsView x;  ///< at most kRowsPerPass rows
  MatrixView weight;
  const float* bias;  ///< of the first of these outputs, or null
  float* y;           ///< of the first row and output
  size_t y_stride;
  bool accumulate;
  MatMulScratch* scratch;  ///< may be null for one row
};

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATMUL_TASK_H_

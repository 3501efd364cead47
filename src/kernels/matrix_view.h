// A weight matrix as the kernels read it.
#ifndef CSM_KERNELS_MATRIX_VIEW_H_
#define CSM_KERNELS_MATRIX_VIEW_H_

#include <cstddef>
#include <cstdint>

#include "csm/csm.hpp"

namespace csm::kernels {

/// Row-major [rows, cols], contiguous, of any DType; memory belongs to someone else and stays
/// constant. `data` is aligned to the element at least (safetensors promises no more).
struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  size_t rows = 0;  ///< output features
  size_t cols = 0;  ///< input features
};

constexpr size_t SizeOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

/// Rows [begin, begin + count) of a matrix.
inline MatrixView RowsOf(const MatrixView& matrix, size_t begin, size_t count) {
  const auto* bytes = static_cast<const std::byte*>(matrix.data);
  return {bytes + begin * matrix.cols * SizeOf(matrix.dtype), matrix.dtype, count, matrix.cols};
}

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATRIX_VIEW_H_

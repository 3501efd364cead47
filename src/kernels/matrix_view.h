// A weight matrix as the kernels read it.
#ifndef CSM_KERNELS_MATRIX_VIEW_H_
#define CSM_KERNELS_MATRIX_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "csm/csm.hpp"

namespace csm::kernels {

/// Row-major [rows, cols], contiguous, or packed (packed.h) if the type is quantized; memory
/// belongs to someone else and stays constant. `data` is aligned to the element at least
/// (safetensors promises no more), packed to 64 bytes.
struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  size_t rows = 0;  ///< output features
  size_t cols = 0;  ///< input features
};

constexpr bool IsQuantized(DType dtype) { return dtype == DType::kQ8_0 || dtype == DType::kQ4; }

/// As the command line and messages spell it.
constexpr std::string_view NameOf(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kF16:
      return "f16";
    case DType::kBF16:
      return "bf16";
    case DType::kQ8_0:
      return "q8_0";
    case DType::kQ4:
      return "q4";
  }
  return "";
}

/// Bytes of an element of a type that is not quantized.
constexpr size_t SizeOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }

/// Rows [begin, begin + count) of a matrix that is not quantized.
inline MatrixView RowsOf(const MatrixView& matrix, size_t begin, size_t count) {
  const auto* bytes = static_cast<const std::byte*>(matrix.data);
  return {bytes + begin * matrix.cols * SizeOf(matrix.dtype), matrix.dtype, count, matrix.cols};
}

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATRIX_VIEW_H_

// Weight matrices: as files store them, and as products read them.
#ifndef CSM_KERNELS_MATRIX_VIEW_H_
#define CSM_KERNELS_MATRIX_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "csm/csm.hpp"

namespace csm::kernels {

/// A table of rows to look up (embeddings): row-major [rows, cols], contiguous, as stored; a row of
/// a quantized one is a sequence of blocks (blocks.h). Memory belongs to someone else and stays
/// constant; it is aligned to the element at least (safetensors promises no more).
struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  size_t rows = 0;
  size_t cols = 0;
};

/// A matrix to multiply by: [rows, cols] in strips (packed.h), aligned to 64 bytes. Memory belongs
/// to someone else and stays constant.
struct PackedMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  size_t rows = 0;            ///< output features
  size_t cols = 0;            ///< input features
  bool rounds_input = false;  ///< bf16: products may round x to bf16 (Precision::kFast)
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

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATRIX_VIEW_H_

#include <cstring>
#include <vector>

#include "kernels/blocks.h"
#include "kernels/elementwise.h"

// Highway asks for this order.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cc"
#include "kernels/targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/convert-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

template <class From>
void ConvertFrom(const void* from, void* to, DType to_type, size_t n) {
  const auto* source = static_cast<const From*>(from);
  switch (to_type) {
    case DType::kF32:
      return ConvertRange(source, static_cast<float*>(to), n);
    case DType::kF16:
      return ConvertRange(source, static_cast<F16*>(to), n);
    case DType::kBF16:
      return ConvertRange(source, static_cast<BF16*>(to), n);
    default:
      HWY_DASSERT(false);
  }
}

void ConvertTarget(const void* from, DType from_type, void* to, DType to_type, size_t n) {
  switch (from_type) {
    case DType::kF32:
      return ConvertFrom<float>(from, to, to_type, n);
    case DType::kF16:
      return ConvertFrom<F16>(from, to, to_type, n);
    case DType::kBF16:
      return ConvertFrom<BF16>(from, to, to_type, n);
    default:
      HWY_DASSERT(false);
  }
}

template <class T>
void AddTo(const T* from, float* out, size_t n) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    hn::StoreU(hn::Add(hn::LoadU(DF(), out + i), LoadF32(from + i)), DF(), out + i);
  }
  if (i < n) StoreN(hn::Add(LoadF32(out + i, n - i), LoadF32(from + i, n - i)), out + i, n - i);
}

void AddRowTarget(const void* row, DType dtype, float* out, size_t n) {
  switch (dtype) {
    case DType::kF32:
      return AddTo(static_cast<const float*>(row), out, n);
    case DType::kF16:
      return AddTo(static_cast<const F16*>(row), out, n);
    case DType::kBF16:
      return AddTo(static_cast<const BF16*>(row), out, n);
    default:
      HWY_DASSERT(false);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace csm::kernels {
namespace {
HWY_EXPORT(ConvertTarget);
HWY_EXPORT(AddRowTarget);

const std::byte* RowAt(const MatrixView& matrix, size_t row) {
  return static_cast<const std::byte*>(matrix.data) +
         row * StoredRowBytes(matrix.dtype, matrix.cols);
}
}  // namespace

void LoadRow(const MatrixView& matrix, size_t row, float* out) {
  const std::byte* from = RowAt(matrix, row);
  if (IsQuantized(matrix.dtype)) return DequantizeBlocks(from, matrix.cols, matrix.dtype, out);
  Convert(from, matrix.dtype, out, DType::kF32, matrix.cols);
}

void AddRow(const MatrixView& matrix, size_t row, float* out) {
  if (IsQuantized(matrix.dtype)) {
    thread_local std::vector<float> values;
    values.resize(matrix.cols);
    LoadRow(matrix, row, values.data());
    return Add(values.data(), out, matrix.cols);
  }
  HWY_DYNAMIC_DISPATCH(AddRowTarget)(RowAt(matrix, row), matrix.dtype, out, matrix.cols);
}

void Convert(const void* from, DType from_type, void* to, DType to_type, size_t n) {
  if (n == 0) return;
  if (from_type == to_type) {
    std::memcpy(to, from, n * SizeOf(from_type));
    return;
  }
  HWY_DYNAMIC_DISPATCH(ConvertTarget)(from, from_type, to, to_type, n);
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

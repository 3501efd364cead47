#include <cassert>

#include "kernels/half.h"
#include "kernels/matmul.h"

namespace csm::kernels {
namespace {

double WeightAt(const MatrixView& weight, size_t i) {
  switch (weight.dtype) {
    case DType::kF32:
      return static_cast<const float*>(weight.data)[i];
    case DType::kF16:
      return ToF32(static_cast<const F16*>(weight.data)[i]);
    case DType::kBF16:
      return ToF32(static_cast<const BF16*>(weight.data)[i]);
    default:
      assert(!"quantized products have a reference of their own");
  }
  return 0;
}

}  // namespace

void MatMulReference(const RowsView& x, const Product& product) {
  const MatrixView& weight = product.weight;
  for (size_t r = 0; r < x.num_rows; ++r) {
    for (size_t o = 0; o < weight.rows; ++o) {
      float& y = product.y[r * product.y_stride + o];
      double sum = product.accumulate ? y : 0.0;
      for (size_t i = 0; i < weight.cols; ++i) {
        sum += double{x.data[r * x.stride + i]} * WeightAt(weight, o * weight.cols + i);
      }
      if (product.bias != nullptr) sum += product.bias[o];
      y = static_cast<float>(sum);
    }
  }
}

}  // namespace csm::kernels

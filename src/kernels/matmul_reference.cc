#include <vector>

#include "kernels/matmul.h"
#include "kernels/packed.h"

namespace csm::kernels {

void MatMulReference(const RowsView& x, const Product& product) {
  std::vector<float> row(product.weight.cols);
  for (size_t o = 0; o < product.weight.rows; ++o) {
    UnpackRow(product.weight, o, row.data());
    for (size_t r = 0; r < x.num_rows; ++r) {
      float& y = product.y[r * product.y_stride + o];
      double sum = product.accumulate ? y : 0.0;
      for (size_t i = 0; i < row.size(); ++i) sum += double{x.data[r * x.stride + i]} * row[i];
      if (product.bias != nullptr) sum += product.bias[o];
      y = static_cast<float>(sum);
    }
  }
}

}  // namespace csm::kernels

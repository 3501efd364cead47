#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention.h"

namespace csm::kernels {

void AttentionReference(const AttentionRow& row, const AttentionShape& shape) {
  const size_t n = shape.head_dim;
  const size_t group = shape.num_heads / shape.num_kv_heads;
  for (size_t h = 0; h < shape.num_heads; ++h) {
    const float* query = row.query + h * n;
    const float* keys = row.keys + h / group * n;
    const float* values = row.values + h / group * n;
    std::vector<double> weights(row.num_keys);
    double max = -std::numeric_limits<double>::infinity();
    for (size_t p = 0; p < row.num_keys; ++p) {
      double score = 0;
      for (size_t d = 0; d < n; ++d) score += double{query[d]} * keys[p * shape.kv_stride + d];
      weights[p] = score / std::sqrt(static_cast<double>(n));
      max = std::max(max, weights[p]);
    }
    double total = 0;
    for (double& weight : weights) total += weight = std::exp(weight - max);
    for (size_t d = 0; d < n; ++d) {
      double sum = 0;
      for (size_t p = 0; p < row.num_keys; ++p) {
        sum += weights[p] * values[p * shape.kv_stride + d];
      }
      row.output[h * n + d] = static_cast<float>(sum / total);
    }
  }
}

}  // namespace csm::kernels

// A linear layer: weights, perhaps a bias, perhaps the term of an adapter.
#ifndef CSM_MODEL_LINEAR_H_
#define CSM_MODEL_LINEAR_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/weight_loader.h"
#include "kernels/matmul.h"

namespace csm::model {

/// y = W x + bias + B (A x). An adapter has terms of their own where W is stored quantized; other
/// weights hold the sum already.
struct Linear {
  kernels::PackedMatrix weight;  ///< [outputs, inputs]
  const float* bias = nullptr;   ///< null: none
  kernels::PackedMatrix a;       ///< [rank, inputs], f32; empty: no term
  kernels::PackedMatrix b;       ///< [outputs, rank], f32, scaled

  bool has_term() const { return a.rows > 0; }
};

/// Tensors NAME.weight and NAME.bias.
Linear LoadLinear(checkpoint::WeightLoader& loader, const std::string& name, int64_t outputs,
                  int64_t inputs, bool has_bias = false);

/// One of the layers that read the same x.
struct LinearOutput {
  const Linear& layer;
  float* y = nullptr;  ///< [rows, outputs]
  bool accumulate = false;
};

/// Computes layers that share x in one parallel region, and their terms after it. `scratch` is for
/// the terms.
void Multiply(const kernels::RowsView& x, std::span<const LinearOutput> outputs,
              std::vector<float>& scratch, ThreadPool& pool);

}  // namespace csm::model

#endif  // CSM_MODEL_LINEAR_H_

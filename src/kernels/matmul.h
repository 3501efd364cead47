// Products of activations and weights: the one place where the model's arithmetic is spent.
#ifndef CSM_KERNELS_MATMUL_H_
#define CSM_KERNELS_MATMUL_H_

#include <cstddef>
#include <span>

#include "base/thread_pool.h"
#include "kernels/matrix_view.h"

namespace csm::kernels {

/// Rows of activations: row r is the `cols` floats from data + r * stride. Rows may overlap: a
/// convolution over channels-last audio is a product whose rows step by less than their length.
struct RowsView {
  const float* data = nullptr;
  size_t num_rows = 0;
  size_t stride = 0;  ///< in floats
};

/// One product to compute: y[r, o] = (accumulate ? y[r, o] : 0) + sum_i x[r, i] w[o, i] + bias[o].
struct Product {
  PackedMatrix weight;          ///< [outputs, inputs]
  const float* bias = nullptr;  ///< [outputs] or null
  float* y = nullptr;           ///< row r at y + r * y_stride; must not overlap x
  size_t y_stride = 0;          ///< in floats, >= outputs
  bool accumulate = false;
};

/// Computes products that share their input x [num_rows, inputs] in one parallel region (query,
/// key and value; gate and up). Every weight is read from memory once, whatever the number of rows.
///
/// Each y[r, o] is summed in the order of its inputs: the bits are the same for one row or many,
/// for any thread count, any neighbours and any alignment, and on all instruction sets that have
/// fused multiply-add. Accumulation is in f32. Quantized weights round x to int8 first
/// (quantized_matmul.h). Bound: bytes of the weights for few rows, multiply-adds for many.
void MatMul(const RowsView& x, std::span<const Product> products, ThreadPool& pool);

/// MatMul of one product.
inline void MatMul(const RowsView& x, const Product& product, ThreadPool& pool) {
  MatMul(x, std::span<const Product>(&product, 1), pool);
}

/// The specification: the same sums in plain loops and double precision, for tests.
void MatMulReference(const RowsView& x, const Product& product);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MATMUL_H_

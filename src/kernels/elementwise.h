// Norms, activations and other element-by-element work on rows of f32. None of these use threads;
// each element's bits do not depend on its place in the row, so callers may split rows as they like
// (norms and softmax: by whole rows). Bound: bytes in cache.
#ifndef CSM_KERNELS_ELEMENTWISE_H_
#define CSM_KERNELS_ELEMENTWISE_H_

#include <cstddef>

#include "kernels/matrix_view.h"

namespace csm::kernels {

/// y[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; y may be x.
void RmsNorm(const float* x, const float* weight, float eps, float* y, size_t n);

/// y[i] = (x[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i]; y may be x.
void LayerNorm(const float* x, const float* weight, const float* bias, float eps, float* y,
               size_t n);

/// Rotates one head in place, halves paired as HF's rotate_half: for i < n / 2,
/// (x[i], x[i + n/2]) -> (x[i] cos[i] - x[i + n/2] sin[i], x[i + n/2] cos[i] + x[i] sin[i]).
void Rope(float* x, const float* cos, const float* sin, size_t n);

/// gate[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x)).
void SiluMultiply(float* gate, const float* up, size_t n);

/// x[i] = 0.5 x (1 + erf(x / sqrt 2)); absolute error <= 1e-6 * max(1, |x|).
void Gelu(float* x, size_t n);

/// y[i] = x > 0 ? x : exp(x) - 1; y may be x.
void Elu(const float* x, float* y, size_t n);

/// y[i] += x[i].
void Add(const float* x, float* y, size_t n);

/// y[i] += scale[i] * x[i] (a layer scale).
void AddScaled(const float* x, const float* scale, float* y, size_t n);

/// out[i] = row `row` of the matrix as f32.
void LoadRow(const MatrixView& matrix, size_t row, float* out);

/// out[i] += row `row` of the matrix (summing embeddings).
void AddRow(const MatrixView& matrix, size_t row, float* out);

/// Converts n elements of `from` (type `from_type`) to `to` (type `to_type`), rounding to nearest
/// even; overflow to f16 becomes infinity. `to` must not overlap `from`.
void Convert(const void* from, DType from_type, void* to, DType to_type, size_t n);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_ELEMENTWISE_H_

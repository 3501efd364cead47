// Attention of query rows over cached keys and values.
#ifndef CSM_KERNELS_ATTENTION_H_
#define CSM_KERNELS_ATTENTION_H_

#include <cstddef>
#include <span>

#include "base/thread_pool.h"

namespace csm::kernels {

/// One query position: all its heads, and the keys it may see. Keys and values of position p of
/// key-value head h are the head_dim floats at p * kv_stride + h * head_dim.
struct AttentionRow {
  const float* query = nullptr;  ///< [num_heads, head_dim], rotated
  const float* keys = nullptr;   ///< first visible position, rotated
  const float* values = nullptr;
  size_t num_keys = 0;      ///< visible positions, the oldest first; >= 1
  float* output = nullptr;  ///< [num_heads, head_dim]
};

struct AttentionShape {
  size_t num_heads = 0;
  size_t num_kv_heads = 0;  ///< query head h reads key-value head h / (num_heads / num_kv_heads)
  size_t head_dim = 0;
  size_t kv_stride = 0;  ///< floats between positions, >= num_kv_heads * head_dim
};

/// output = softmax(query · keys / sqrt(head_dim)) · values, per row and head, all in f32. A row's
/// bits depend on its own query, keys and values alone. Bound: bytes of keys and values for one
/// row of a sequence; rows of one sequence that follow each other share them in cache.
void Attention(std::span<const AttentionRow> rows, const AttentionShape& shape, ThreadPool& pool);

/// The specification, in plain loops and double precision, for tests.
void AttentionReference(const AttentionRow& row, const AttentionShape& shape);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_ATTENTION_H_

// A stack of Llama blocks: embeddings in, normalised hidden states out. The backbone and the depth
// decoder are both this, with their own sizes and weights.
//
// Per block (all activations f32):
//   x += o_proj(Attention(Rope(q_proj(n), k_proj(n)), v_proj(n))),  n = RmsNorm(x)
//   x += down_proj(silu(gate_proj(m)) * up_proj(m)),                m = RmsNorm(x)
#ifndef CSM_MODEL_LLAMA_STACK_H_
#define CSM_MODEL_LLAMA_STACK_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "kernels/attention.h"
#include "model/kv_cache.h"
#include "model/linear.h"

namespace csm::model {

/// The rows of one sequence in a ragged batch: they continue what the cache holds.
struct Segment {
  KvCache::Impl* cache = nullptr;
  int64_t num_rows = 0;
  std::span<const int32_t> position_ids = {};  ///< for RoPE; empty: on from the cache's length
};

/// Where one row of a call stands in its own sequence.
struct StackRow {
  KvCache::Impl* cache;
  int64_t position;     ///< in the cache
  int64_t position_id;  ///< for RoPE
};

/// Buffers that a stack computes in, kept between calls: a step allocates nothing while the
/// caches have room.
struct Scratch {
  std::vector<StackRow> rows;
  std::vector<float> normed, query, key, value, attended, gate, up, cos, sin, low_rank;
  std::vector<kernels::AttentionRow> attention_rows;
};

/// Called with the index of each layer (num_hidden_layers: the final norm's output), the first row
/// and the rows [num_rows, hidden_size] that enter it.
using HiddenObserver =
    std::function<void(int64_t layer, int64_t first_row, std::span<const float> rows)>;

/// A weight as it is in memory, for whoever tells models apart.
struct WeightBytes {
  DType dtype = DType::kF32;
  size_t rows = 1, cols = 0;
  std::span<const std::byte> bytes;
};

/// Immutable; shared by threads, each with its own caches and scratch.
class LlamaStack {
 public:
  /// Tensor names start with `prefix`, e.g. "backbone_model.".
  LlamaStack(const LlamaConfig& config, const std::string& prefix,
             checkpoint::WeightLoader& loader);

  /// hidden [sum of num_rows, hidden_size]: the segments' embeddings one after the other, replaced
  /// by the last hidden states after the final norm. Caches grow by the rows. A row's bits depend
  /// on its own sequence alone.
  void Forward(std::span<const Segment> segments, std::span<float> hidden, Scratch& scratch,
               ThreadPool& pool, const HiddenObserver& observer = nullptr) const;

  const LlamaConfig& config() const { return config_; }
  /// Of the matrices.
  struct Totals {
    size_t bytes = 0;     ///< which a step reads once
    size_t products = 0;  ///< multiply-adds of a row
  };
  Totals totals() const;
  /// All that the stack computes with, in a fixed order; norms and biases as matrices of one row.
  std::vector<WeightBytes> weights() const;

 private:
  struct Layer {
    std::span<const float> input_norm, post_attention_norm;
    Linear q, k, v, o, gate, up, down;
  };
  void ForwardChunk(std::span<const StackRow> rows, std::span<float> hidden, int64_t first_row,
                    Scratch& scratch, ThreadPool& pool, const HiddenObserver& observer) const;
  void Attend(const Layer& layer, int64_t layer_index, std::span<const StackRow> rows,
              std::span<float> hidden, Scratch& scratch, ThreadPool& pool) const;
  void FeedForward(const Layer& layer, int64_t num_rows, std::span<float> hidden, Scratch& scratch,
                   ThreadPool& pool) const;
  void Normalize(std::span<const float> weight, int64_t num_rows, const float* x, float* y,
                 ThreadPool& pool) const;

  LlamaConfig config_;
  std::vector<float> inverse_frequencies_;
  std::vector<Layer> layers_;
  std::span<const float> norm_;
};

}  // namespace csm::model

#endif  // CSM_MODEL_LLAMA_STACK_H_

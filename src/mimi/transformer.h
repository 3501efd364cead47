// The transformer between SEANet and the quantizer, over a sliding window of the past.
#ifndef CSM_MIMI_TRANSFORMER_H_
#define CSM_MIMI_TRANSFORMER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "kernels/attention.h"
#include "kernels/matrix_view.h"
#include "mimi/rows.h"

namespace csm::mimi {

/// The newest keys or values of a stream, in contiguous rows. Old rows leave in bulk, when room
/// for new ones runs out, so that a step moves no memory but every `window` positions.
class SlidingRows {
 public:
  explicit SlidingRows(size_t channels) : channels_(channels) {}

  /// Makes room for n new rows and returns the first, to be written by the caller; the `num_kept`
  /// rows before it stay, older ones may go.
  float* Append(size_t num_kept, size_t n);
  /// Row i from the end, 0 being the last.
  const float* FromEnd(size_t i) const { return data_.data() + (end_ - 1 - i) * channels_; }
  size_t capacity_bytes() const { return data_.size() * sizeof(float); }

 private:
  size_t channels_;
  size_t end_ = 0;  ///< rows in use
  std::vector<float> data_;
};

/// x += scale * attention(LayerNorm(x)); x += scale * mlp(LayerNorm(x)), per layer; no final norm.
/// HF's MimiTransformerModel: position i sees sliding_window positions, i included.
class Transformer {
 public:
  Transformer(checkpoint::WeightLoader& loader, const std::string& prefix,
              const MimiConfig& config);

  struct State {
    explicit State(const Transformer& transformer);
    size_t position = 0;  ///< of the next row
    struct Cache {
      SlidingRows keys, values;
    };
    std::vector<Cache> layers;
  };
  /// Buffers, kept between calls.
  struct Scratch {
    explicit Scratch(const Transformer& transformer);
    Rows norm, query, key, value, hidden, output, angles;
    std::vector<kernels::AttentionRow> attention;
  };

  /// Replaces x [streams, num_rows, hidden_size], the rows that follow those of earlier calls.
  void Step(Streams<State> streams, float* x, size_t num_rows, Scratch& scratch,
            ThreadPool& pool) const;

 private:
  struct Norm {
    std::span<const float> weight, bias;
  };
  struct Linear {
    kernels::PackedMatrix weight;
    std::span<const float> bias;
  };
  struct Layer {
    Norm input_norm, post_attention_norm;
    Linear query, key, value, output;
    kernels::PackedMatrix fc1, fc2;
    std::span<const float> attention_scale, mlp_scale;
  };

  // Of these, all but those that take streams know rows alone.
  void Angles(Streams<State> streams, size_t num_rows, Scratch& scratch) const;
  void Normalize(const Norm& norm, const float* x, Scratch& scratch, ThreadPool& pool) const;
  void AddScaled(std::span<const float> scale, const Scratch& scratch, float* x,
                 ThreadPool& pool) const;
  void Attend(size_t layer, Streams<State> streams, size_t num_rows, Scratch& scratch,
              ThreadPool& pool) const;
  void Remember(size_t layer, State& state, size_t first_row, size_t num_rows,
                Scratch& scratch) const;
  void Rotate(size_t row, Scratch& scratch) const;
  void Mlp(const Layer& layer, Scratch& scratch, ThreadPool& pool) const;

  size_t hidden_size_, intermediate_size_, window_;
  float norm_eps_;
  kernels::AttentionShape shape_;
  std::vector<float> inverse_frequencies_;  ///< [head_dim / 2]
  std::vector<Layer> layers_;
};

}  // namespace csm::mimi

#endif  // CSM_MIMI_TRANSFORMER_H_

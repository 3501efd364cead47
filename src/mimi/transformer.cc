#include "mimi/transformer.h"

#include <algorithm>
#include <cassert>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"

namespace csm::mimi {
namespace {

const float* OrNull(std::span<const float> bias) { return bias.empty() ? nullptr : bias.data(); }

}  // namespace

float* SlidingRows::Append(size_t num_kept, size_t n) {
  assert(num_kept <= end_);
  if ((end_ + n) * channels_ > data_.size()) {
    const auto kept = data_.begin() + static_cast<ptrdiff_t>((end_ - num_kept) * channels_);
    std::copy_n(kept, num_kept * channels_, data_.begin());
    end_ = num_kept;
    // Room for as many steps as rows were moved: each row is then moved once on average.
    const size_t wanted = (2 * num_kept + n) * channels_;
    if (data_.size() < wanted) data_.resize(wanted);
  }
  float* rows = data_.data() + end_ * channels_;
  end_ += n;
  return rows;
}

Transformer::Transformer(checkpoint::WeightLoader& loader, const std::string& prefix,
                         const MimiConfig& config)
    : hidden_size_(Size(config.hidden_size)),
      intermediate_size_(Size(config.intermediate_size)),
      window_(Size(config.sliding_window)),
      norm_eps_(static_cast<float>(config.norm_eps)),
      shape_{.num_heads = Size(config.num_attention_heads),
             .num_kv_heads = Size(config.num_key_value_heads),
             .head_dim = Size(config.head_dim),
             .kv_stride = Size(config.num_key_value_heads * config.head_dim)},
      inverse_frequencies_(
          kernels::RopeInverseFrequencies(config.rope_parameters, config.head_dim)) {
  const int64_t hidden = config.hidden_size;
  const int64_t query_size = config.num_attention_heads * config.head_dim;
  const int64_t kv_size = config.num_key_value_heads * config.head_dim;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string name = fmt::format("{}layers.{}.", prefix, i);
    const auto norm = [&](const std::string& part) {
      return Norm{loader.Vector(name + part + ".weight", hidden),
                  loader.Vector(name + part + ".bias", hidden)};
    };
    const auto linear = [&](const std::string& part, int64_t out, int64_t in) {
      const std::string full = name + "self_attn." + part;
      return Linear{
          loader.Matrix(full + ".weight", out, in),
          config.attention_bias ? loader.Vector(full + ".bias", out) : std::span<const float>()};
    };
    layers_.push_back(
        {.input_norm = norm("input_layernorm"),
         .post_attention_norm = norm("post_attention_layernorm"),
         .query = linear("q_proj", query_size, hidden),
         .key = linear("k_proj", kv_size, hidden),
         .value = linear("v_proj", kv_size, hidden),
         .output = linear("o_proj", hidden, query_size),
         .fc1 = loader.Matrix(name + "mlp.fc1.weight", config.intermediate_size, hidden),
         .fc2 = loader.Matrix(name + "mlp.fc2.weight", hidden, config.intermediate_size),
         .attention_scale = loader.Vector(name + "self_attn_layer_scale.scale", hidden),
         .mlp_scale = loader.Vector(name + "mlp_layer_scale.scale", hidden)});
  }
}

Transformer::State::State(const Transformer& transformer) {
  const size_t channels = transformer.shape_.kv_stride;
  for (size_t i = 0; i < transformer.layers_.size(); ++i) {
    layers.push_back({SlidingRows(channels), SlidingRows(channels)});
  }
}

Transformer::Scratch::Scratch(const Transformer& transformer)
    : norm(transformer.hidden_size_),
      query(transformer.shape_.num_heads * transformer.shape_.head_dim),
      key(transformer.shape_.kv_stride),
      value(transformer.shape_.kv_stride),
      hidden(std::max(transformer.intermediate_size_, query.channels())),
      output(transformer.hidden_size_),
      angles(transformer.shape_.head_dim) {}

// Cosines, then sines, of each new position: [streams, num_rows, 2, head_dim / 2].
void Transformer::Angles(Streams<State> streams, size_t num_rows, Scratch& scratch) const {
  size_t row = 0;
  for (const State* stream : streams) {
    for (size_t r = 0; r < num_rows; ++r, ++row) {
      float* cos = scratch.angles.row(row);
      kernels::RopeAngles(inverse_frequencies_, static_cast<int64_t>(stream->position + r), cos,
                          cos + shape_.head_dim / 2);
    }
  }
}

// scratch.norm = LayerNorm(x).
void Transformer::Normalize(const Norm& norm, const float* x, Scratch& scratch,
                            ThreadPool& pool) const {
  ForRowBlocks(scratch.norm.size(), hidden_size_, pool, [&](size_t first, size_t count) {
    for (size_t r = first; r < first + count; ++r) {
      kernels::LayerNorm(x + r * hidden_size_, norm.weight.data(), norm.bias.data(), norm_eps_,
                         scratch.norm.row(r), hidden_size_);
    }
  });
}

// x += scale * scratch.output.
void Transformer::AddScaled(std::span<const float> scale, const Scratch& scratch, float* x,
                            ThreadPool& pool) const {
  ForRowBlocks(scratch.output.size(), hidden_size_, pool, [&](size_t first, size_t count) {
    for (size_t r = first; r < first + count; ++r) {
      kernels::AddScaled(scratch.output.row(r), scale.data(), x + r * hidden_size_, hidden_size_);
    }
  });
}

void Transformer::Rotate(size_t row, Scratch& scratch) const {
  const float* cos = scratch.angles.row(row);
  const float* sin = cos + shape_.head_dim / 2;
  for (size_t h = 0; h < shape_.num_heads; ++h) {
    kernels::Rope(scratch.query.row(row) + h * shape_.head_dim, cos, sin, shape_.head_dim);
  }
  for (size_t h = 0; h < shape_.num_kv_heads; ++h) {
    kernels::Rope(scratch.key.row(row) + h * shape_.head_dim, cos, sin, shape_.head_dim);
  }
}

// Moves a stream's new keys and values to its cache, and says what each of its rows sees.
void Transformer::Remember(size_t layer, State& state, size_t first_row, size_t num_rows,
                           Scratch& scratch) const {
  State::Cache& cache = state.layers[layer];
  const size_t num_kept = std::min(state.position, window_ - 1);
  const size_t num_floats = num_rows * shape_.kv_stride;
  std::copy_n(scratch.key.row(first_row), num_floats, cache.keys.Append(num_kept, num_rows));
  std::copy_n(scratch.value.row(first_row), num_floats, cache.values.Append(num_kept, num_rows));
  for (size_t r = 0; r < num_rows; ++r) {
    const size_t num_visible = std::min(state.position + r + 1, window_);
    const size_t oldest = num_rows - 1 - r + num_visible - 1;
    const size_t row = first_row + r;
    scratch.attention[row] = {.query = scratch.query.row(row),
                              .keys = cache.keys.FromEnd(oldest),
                              .values = cache.values.FromEnd(oldest),
                              .num_keys = num_visible,
                              .output = scratch.hidden.data() + row * scratch.query.channels()};
  }
}

// scratch.output = attention of scratch.norm.
void Transformer::Attend(size_t layer, Streams<State> streams, size_t num_rows, Scratch& scratch,
                         ThreadPool& pool) const {
  const Linear& query = layers_[layer].query;
  const Linear& key = layers_[layer].key;
  const Linear& value = layers_[layer].value;
  const size_t query_stride = scratch.query.channels();
  const size_t all_rows = streams.size() * num_rows;
  const kernels::Product products[] = {
      {query.weight, OrNull(query.bias), scratch.query.data(), query_stride},
      {key.weight, OrNull(key.bias), scratch.key.data(), shape_.kv_stride},
      {value.weight, OrNull(value.bias), scratch.value.data(), shape_.kv_stride}};
  kernels::MatMul({scratch.norm.data(), all_rows, hidden_size_}, products, pool);
  for (size_t row = 0; row < all_rows; ++row) Rotate(row, scratch);
  for (size_t s = 0; s < streams.size(); ++s) {
    Remember(layer, *streams[s], s * num_rows, num_rows, scratch);
  }
  kernels::Attention(std::span(scratch.attention).first(all_rows), shape_, pool);
  const Linear& output = layers_[layer].output;
  const kernels::Product product{output.weight, OrNull(output.bias), scratch.output.data(),
                                 hidden_size_};
  kernels::MatMul({scratch.hidden.data(), all_rows, query_stride}, product, pool);
}

// scratch.output = fc2(gelu(fc1(scratch.norm))).
void Transformer::Mlp(const Layer& layer, Scratch& scratch, ThreadPool& pool) const {
  float* hidden = scratch.hidden.data();
  const size_t num_rows = scratch.norm.size();
  const kernels::Product up{layer.fc1, nullptr, hidden, intermediate_size_};
  kernels::MatMul({scratch.norm.data(), num_rows, hidden_size_}, up, pool);
  ForRowBlocks(num_rows, intermediate_size_, pool, [&](size_t first, size_t count) {
    kernels::Gelu(hidden + first * intermediate_size_, count * intermediate_size_);
  });
  const kernels::Product down{layer.fc2, nullptr, scratch.output.data(), hidden_size_};
  kernels::MatMul({hidden, num_rows, intermediate_size_}, down, pool);
}

void Transformer::Step(Streams<State> streams, float* x, size_t num_rows, Scratch& scratch,
                       ThreadPool& pool) const {
  const size_t all_rows = streams.size() * num_rows;
  if (all_rows == 0) return;
  for (Rows* rows : {&scratch.norm, &scratch.query, &scratch.key, &scratch.value, &scratch.hidden,
                     &scratch.output, &scratch.angles}) {
    rows->Clear();
    rows->Append(all_rows);
  }
  if (scratch.attention.size() < all_rows) scratch.attention.resize(all_rows);
  Angles(streams, num_rows, scratch);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    Normalize(layer.input_norm, x, scratch, pool);
    Attend(i, streams, num_rows, scratch, pool);
    AddScaled(layer.attention_scale, scratch, x, pool);
    Normalize(layer.post_attention_norm, x, scratch, pool);
    Mlp(layer, scratch, pool);
    AddScaled(layer.mlp_scale, scratch, x, pool);
  }
  for (State* stream : streams) stream->position += num_rows;
}

}  // namespace csm::mimi

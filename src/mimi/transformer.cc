#include "mimi/transformer.h"

#include <algorithm>
#include <cassert>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/rope.h"

namespace csm::mimi {
namespace {

size_t Size(int64_t value) { return static_cast<size_t>(value); }

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

Transformer::State::State(const Transformer& transformer)
    : norm(transformer.hidden_size_),
      query(transformer.shape_.num_heads * transformer.shape_.head_dim),
      hidden(std::max(transformer.intermediate_size_, query.channels())),
      output(transformer.hidden_size_),
      angles(transformer.shape_.head_dim) {
  const size_t channels = transformer.shape_.kv_stride;
  for (size_t i = 0; i < transformer.layers_.size(); ++i) {
    layers.push_back({SlidingRows(channels), SlidingRows(channels)});
  }
}

// Cosines, then sines, of each new position: [num_rows, 2, head_dim / 2].
void Transformer::Angles(State& state, size_t num_rows) const {
  for (size_t r = 0; r < num_rows; ++r) {
    float* cos = state.angles.row(r);
    kernels::RopeAngles(inverse_frequencies_, static_cast<int64_t>(state.position + r), cos,
                        cos + shape_.head_dim / 2);
  }
}

// state.norm = LayerNorm(x).
void Transformer::Normalize(const Norm& norm, const float* x, size_t num_rows, State& state,
                            ThreadPool& pool) const {
  ForRowBlocks(num_rows, hidden_size_, pool, [&](size_t first, size_t count) {
    for (size_t r = first; r < first + count; ++r) {
      kernels::LayerNorm(x + r * hidden_size_, norm.weight.data(), norm.bias.data(), norm_eps_,
                         state.norm.row(r), hidden_size_);
    }
  });
}

// x += scale * state.output.
void Transformer::AddScaled(std::span<const float> scale, const State& state, float* x,
                            size_t num_rows, ThreadPool& pool) const {
  ForRowBlocks(num_rows, hidden_size_, pool, [&](size_t first, size_t count) {
    for (size_t r = first; r < first + count; ++r) {
      kernels::AddScaled(state.output.row(r), scale.data(), x + r * hidden_size_, hidden_size_);
    }
  });
}

// state.output = attention of state.norm.
void Transformer::Attend(const Layer& layer, State::Cache& cache, State& state, size_t num_rows,
                         ThreadPool& pool) const {
  const size_t query_stride = state.query.channels();
  const size_t kv_stride = shape_.kv_stride;
  const size_t num_kept = std::min(state.position, window_ - 1);
  float* keys = cache.keys.Append(num_kept, num_rows);
  float* values = cache.values.Append(num_kept, num_rows);
  const kernels::Product products[] = {
      {layer.query.weight, OrNull(layer.query.bias), state.query.data(), query_stride},
      {layer.key.weight, OrNull(layer.key.bias), keys, kv_stride},
      {layer.value.weight, OrNull(layer.value.bias), values, kv_stride}};
  kernels::MatMul({state.norm.data(), num_rows, hidden_size_}, products, pool);

  const size_t head_dim = shape_.head_dim;
  for (size_t r = 0; r < num_rows; ++r) {
    const float* cos = state.angles.row(r);
    const float* sin = cos + head_dim / 2;
    for (size_t h = 0; h < shape_.num_heads; ++h) {
      kernels::Rope(state.query.row(r) + h * head_dim, cos, sin, head_dim);
    }
    for (size_t h = 0; h < shape_.num_kv_heads; ++h) {
      kernels::Rope(keys + r * kv_stride + h * head_dim, cos, sin, head_dim);
    }
    const size_t num_visible = std::min(state.position + r + 1, window_);
    const size_t oldest = num_rows - 1 - r + num_visible - 1;
    state.attention[r] = {.query = state.query.row(r),
                          .keys = cache.keys.FromEnd(oldest),
                          .values = cache.values.FromEnd(oldest),
                          .num_keys = num_visible,
                          .output = state.hidden.data() + r * query_stride};
  }
  kernels::Attention(std::span(state.attention).first(num_rows), shape_, pool);
  const kernels::Product output{layer.output.weight, OrNull(layer.output.bias), state.output.data(),
                                hidden_size_};
  kernels::MatMul({state.hidden.data(), num_rows, query_stride}, output, pool);
}

// state.output = fc2(gelu(fc1(state.norm))).
void Transformer::Mlp(const Layer& layer, State& state, size_t num_rows, ThreadPool& pool) const {
  float* hidden = state.hidden.data();
  const kernels::Product up{layer.fc1, nullptr, hidden, intermediate_size_};
  kernels::MatMul({state.norm.data(), num_rows, hidden_size_}, up, pool);
  ForRowBlocks(num_rows, intermediate_size_, pool, [&](size_t first, size_t count) {
    kernels::Gelu(hidden + first * intermediate_size_, count * intermediate_size_);
  });
  const kernels::Product down{layer.fc2, nullptr, state.output.data(), hidden_size_};
  kernels::MatMul({hidden, num_rows, intermediate_size_}, down, pool);
}

void Transformer::Step(State& state, float* x, size_t num_rows, ThreadPool& pool) const {
  if (num_rows == 0) return;
  for (Rows* rows : {&state.norm, &state.query, &state.hidden, &state.output, &state.angles}) {
    rows->Clear();
    rows->Append(num_rows);
  }
  if (state.attention.size() < num_rows) state.attention.resize(num_rows);
  Angles(state, num_rows);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    Normalize(layer.input_norm, x, num_rows, state, pool);
    Attend(layer, state.layers[i], state, num_rows, pool);
    AddScaled(layer.attention_scale, state, x, num_rows, pool);
    Normalize(layer.post_attention_norm, x, num_rows, state, pool);
    Mlp(layer, state, num_rows, pool);
    AddScaled(layer.mlp_scale, state, x, num_rows, pool);
  }
  state.position += num_rows;
}

}  // namespace csm::mimi

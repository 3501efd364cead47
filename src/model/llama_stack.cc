#include "model/llama_stack.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/packed.h"
#include "kernels/rope.h"

namespace csm::model {
namespace {

// Rows computed together. More rows reuse each weight more often but need more memory: at csm-1b
// sizes 256 rows take 19 MB of scratch and spend about 100 multiply-adds per weight byte, well past
// the point where arithmetic, not memory, is the bound.
constexpr int64_t kRowsPerChunk = 256;

// Below this many rows a norm is cheaper than waking a thread for it.
constexpr int64_t kMinRowsToShare = 8;

template <typename Task>
void ForRows(int64_t num_rows, ThreadPool& pool, const Task& task) {
  pool.ParallelForIf(num_rows >= kMinRowsToShare, static_cast<size_t>(num_rows), task);
}

size_t Size(int64_t rows, int64_t cols) { return static_cast<size_t>(rows * cols); }

void Grow(std::vector<float>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

}  // namespace

LlamaStack::LlamaStack(const LlamaConfig& config, const std::string& prefix,
                       checkpoint::WeightLoader& loader)
    : config_(config),
      inverse_frequencies_(
          kernels::RopeInverseFrequencies(config.rope_parameters, config.head_dim)) {
  const auto linear = [&](const std::string& name, int64_t outputs, int64_t inputs, bool has_bias) {
    return LoadLinear(loader, name, outputs, inputs, has_bias);
  };
  const int64_t hidden = config.hidden_size, ffn = config.intermediate_size;
  const int64_t q_width = config.num_attention_heads * config.head_dim;
  const int64_t kv_width = config.num_key_value_heads * config.head_dim;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string name = prefix + "layers." + std::to_string(i) + ".";
    const std::string attention = name + "self_attn.", mlp = name + "mlp.";
    layers_.push_back({
        .input_norm = loader.Vector(name + "input_layernorm.weight", hidden),
        .post_attention_norm = loader.Vector(name + "post_attention_layernorm.weight", hidden),
        .q = linear(attention + "q_proj", q_width, hidden, config.attention_bias),
        .k = linear(attention + "k_proj", kv_width, hidden, config.attention_bias),
        .v = linear(attention + "v_proj", kv_width, hidden, config.attention_bias),
        .o = linear(attention + "o_proj", hidden, q_width, config.attention_bias),
        .gate = linear(mlp + "gate_proj", ffn, hidden, config.mlp_bias),
        .up = linear(mlp + "up_proj", ffn, hidden, config.mlp_bias),
        .down = linear(mlp + "down_proj", hidden, ffn, config.mlp_bias),
    });
  }
  norm_ = loader.Vector(prefix + "norm.weight", hidden);
}

LlamaStack::Totals LlamaStack::totals() const {
  Totals sum;
  for (const Layer& layer : layers_) {
    for (const Linear* linear :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      for (const kernels::PackedMatrix* w : {&linear->weight, &linear->a, &linear->b}) {
        sum.bytes += kernels::BytesOf(*w);
        sum.products += w->rows * w->cols;
      }
    }
  }
  return sum;
}

std::vector<WeightBytes> LlamaStack::weights() const {
  std::vector<WeightBytes> all;
  const auto add_vector = [&](std::span<const float> values) {
    all.push_back({DType::kF32, 1, values.size(), std::as_bytes(values)});
  };
  for (const Layer& layer : layers_) {
    add_vector(layer.input_norm);
    add_vector(layer.post_attention_norm);
    for (const Linear* linear :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      for (const kernels::PackedMatrix* w : {&linear->weight, &linear->a, &linear->b}) {
        const auto* data = static_cast<const std::byte*>(w->data);
        if (w->rows > 0) all.push_back({w->dtype, w->rows, w->cols, {data, kernels::BytesOf(*w)}});
      }
      if (linear->bias != nullptr) add_vector({linear->bias, linear->weight.rows});
    }
  }
  add_vector(norm_);
  return all;
}

void LlamaStack::Forward(std::span<const Segment> segments, std::span<float> hidden,
                         Scratch& scratch, ThreadPool& pool, const HiddenObserver& observer) const {
  const int64_t kv_width = config_.num_key_value_heads * config_.head_dim;
  for (const Segment& segment : segments) {  // may throw: before anything changes
    segment.cache->Reserve(config_.num_hidden_layers, kv_width, segment.num_rows);
  }
  std::vector<StackRow>& rows = scratch.rows;
  rows.clear();
  for (const Segment& segment : segments) {
    for (int64_t i = 0; i < segment.num_rows; ++i) {
      const int64_t position = segment.cache->length + i;
      const int64_t position_id =
          segment.position_ids.empty() ? position : segment.position_ids[static_cast<size_t>(i)];
      rows.push_back({segment.cache, position, position_id});
    }
    segment.cache->length += segment.num_rows;
  }
  const auto num_rows = static_cast<int64_t>(rows.size());
  for (int64_t first = 0; first < num_rows; first += kRowsPerChunk) {
    const int64_t count = std::min(kRowsPerChunk, num_rows - first);
    ForwardChunk(std::span(rows).subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
                 hidden.subspan(Size(first, config_.hidden_size), Size(count, config_.hidden_size)),
                 first, scratch, pool, observer);
  }
}

void LlamaStack::ForwardChunk(std::span<const StackRow> rows, std::span<float> hidden,
                              int64_t first_row, Scratch& scratch, ThreadPool& pool,
                              const HiddenObserver& observer) const {
  const auto num_rows = static_cast<int64_t>(rows.size());
  const int64_t half = config_.head_dim / 2;
  Grow(scratch.cos, Size(num_rows, half));
  Grow(scratch.sin, Size(num_rows, half));
  for (int64_t r = 0; r < num_rows; ++r) {
    kernels::RopeAngles(inverse_frequencies_, rows[static_cast<size_t>(r)].position_id,
                        scratch.cos.data() + r * half, scratch.sin.data() + r * half);
  }
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (observer) observer(static_cast<int64_t>(i), first_row, hidden);
    Attend(layers_[i], static_cast<int64_t>(i), rows, hidden, scratch, pool);
    FeedForward(layers_[i], num_rows, hidden, scratch, pool);
  }
  Normalize(norm_, num_rows, hidden.data(), hidden.data(), pool);
  if (observer) observer(static_cast<int64_t>(layers_.size()), first_row, hidden);
}

void LlamaStack::Attend(const Layer& layer, int64_t layer_index, std::span<const StackRow> rows,
                        std::span<float> hidden, Scratch& scratch, ThreadPool& pool) const {
  const auto num_rows = static_cast<int64_t>(rows.size());
  const int64_t head_dim = config_.head_dim, half = head_dim / 2;
  const int64_t q_width = config_.num_attention_heads * head_dim;
  const int64_t kv_width = config_.num_key_value_heads * head_dim;
  Grow(scratch.normed, Size(num_rows, config_.hidden_size));
  Grow(scratch.query, Size(num_rows, q_width));
  Grow(scratch.key, Size(num_rows, kv_width));
  Grow(scratch.value, Size(num_rows, kv_width));
  Grow(scratch.attended, Size(num_rows, q_width));
  scratch.attention_rows.resize(rows.size());

  Normalize(layer.input_norm, num_rows, hidden.data(), scratch.normed.data(), pool);
  const kernels::RowsView normed{scratch.normed.data(), rows.size(),
                                 static_cast<size_t>(config_.hidden_size)};
  const LinearOutput inputs[] = {{layer.q, scratch.query.data()},
                                 {layer.k, scratch.key.data()},
                                 {layer.v, scratch.value.data()}};
  Multiply(normed, inputs, scratch.low_rank, pool);

  ForRows(num_rows, pool, [&](size_t r) {
    const StackRow& row = rows[r];
    const auto offset = static_cast<int64_t>(r);
    const float* cos = scratch.cos.data() + offset * half;
    const float* sin = scratch.sin.data() + offset * half;
    float* query = scratch.query.data() + offset * q_width;
    float* key = scratch.key.data() + offset * kv_width;
    const float* value = scratch.value.data() + offset * kv_width;
    for (int64_t i = 0; i < q_width; i += head_dim) {
      kernels::Rope(query + i, cos, sin, static_cast<size_t>(head_dim));
    }
    for (int64_t i = 0; i < kv_width; i += head_dim) {
      kernels::Rope(key + i, cos, sin, static_cast<size_t>(head_dim));
    }
    std::copy_n(key, kv_width, row.cache->Keys(layer_index, row.position));
    std::copy_n(value, kv_width, row.cache->Values(layer_index, row.position));
    scratch.attention_rows[r] = {.query = query,
                                 .keys = row.cache->Keys(layer_index, 0),
                                 .values = row.cache->Values(layer_index, 0),
                                 .num_keys = static_cast<size_t>(row.position + 1),
                                 .output = scratch.attended.data() + offset * q_width};
  });
  kernels::Attention(scratch.attention_rows,
                     {.num_heads = static_cast<size_t>(config_.num_attention_heads),
                      .num_kv_heads = static_cast<size_t>(config_.num_key_value_heads),
                      .head_dim = static_cast<size_t>(head_dim),
                      .kv_stride = static_cast<size_t>(kv_width)},
                     pool);
  const LinearOutput output[] = {{layer.o, hidden.data(), /*accumulate=*/true}};
  Multiply({scratch.attended.data(), rows.size(), static_cast<size_t>(q_width)}, output,
           scratch.low_rank, pool);
}

void LlamaStack::FeedForward(const Layer& layer, int64_t num_rows, std::span<float> hidden,
                             Scratch& scratch, ThreadPool& pool) const {
  const auto rows = static_cast<size_t>(num_rows);
  const auto width = static_cast<size_t>(config_.hidden_size);
  const auto ffn = static_cast<size_t>(config_.intermediate_size);
  Grow(scratch.gate, rows * ffn);
  Grow(scratch.up, rows * ffn);
  Normalize(layer.post_attention_norm, num_rows, hidden.data(), scratch.normed.data(), pool);
  const LinearOutput inputs[] = {{layer.gate, scratch.gate.data()}, {layer.up, scratch.up.data()}};
  Multiply({scratch.normed.data(), rows, width}, inputs, scratch.low_rank, pool);
  ForRows(num_rows, pool, [&](size_t r) {
    kernels::SiluMultiply(scratch.gate.data() + r * ffn, scratch.up.data() + r * ffn, ffn);
  });
  const LinearOutput output[] = {{layer.down, hidden.data(), /*accumulate=*/true}};
  Multiply({scratch.gate.data(), rows, ffn}, output, scratch.low_rank, pool);
}

void LlamaStack::Normalize(std::span<const float> weight, int64_t num_rows, const float* x,
                           float* y, ThreadPool& pool) const {
  const auto width = static_cast<size_t>(config_.hidden_size);
  ForRows(num_rows, pool, [&](size_t r) {
    kernels::RmsNorm(x + r * width, weight.data(), static_cast<float>(config_.rms_norm_eps),
                     y + r * width, width);
  });
}

}  // namespace csm::model

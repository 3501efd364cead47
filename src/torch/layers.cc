#include "torch/layers.h"

#include <optional>
#include <vector>

#include "kernels/rope.h"
#include "torch/attention_guide.h"
#include "torch/static_cache.h"

namespace csm::train {

namespace F = torch::nn::functional;

LinearImpl::LinearImpl(int64_t inputs, int64_t outputs, bool has_bias)
    : weight(register_parameter("weight", torch::empty({outputs, inputs}))) {
  if (has_bias) bias = register_parameter("bias", torch::empty({outputs}));
}

torch::Tensor LinearImpl::forward(const torch::Tensor& x) {
  torch::Tensor y = torch::linear(x, weight, bias);
  if (!is_adapted()) return y;
  const torch::Tensor dropped = dropout_ > 0 ? torch::dropout(x, dropout_, is_training()) : x;
  return y + lora_b_->forward(lora_a_->forward(dropped)) * scale_;
}

void LinearImpl::Adapt(int64_t rank, double alpha, double dropout) {
  const int64_t outputs = weight.size(0), inputs = weight.size(1);
  lora_a_ = register_module("lora_A", std::make_shared<LinearImpl>(inputs, rank, false));
  lora_b_ = register_module("lora_B", std::make_shared<LinearImpl>(rank, outputs, false));
  scale_ = alpha / static_cast<double>(rank);
  dropout_ = dropout;
}

EmbeddingImpl::EmbeddingImpl(int64_t count, int64_t width)
    : weight(register_parameter("weight", torch::empty({count, width}))) {}

torch::Tensor EmbeddingImpl::forward(const torch::Tensor& ids) const {
  return torch::embedding(weight, ids);
}

RmsNormImpl::RmsNormImpl(int64_t width, double epsilon)
    : weight(register_parameter("weight", torch::empty({width}))), epsilon_(epsilon) {}

torch::Tensor RmsNormImpl::forward(const torch::Tensor& x) const {
  const torch::Tensor wide = x.to(torch::kFloat32);
  const torch::Tensor mean_square = wide.square().mean(-1, /*keepdim=*/true);
  return weight * (wide * torch::rsqrt(mean_square + epsilon_)).to(x.scalar_type());
}

RopeTable MakeRopeTable(const LlamaConfig& config, int64_t length,
                        const torch::TensorOptions& options) {
  const std::vector<float> inverse =
      kernels::RopeInverseFrequencies(config.rope_parameters, config.head_dim);
  const torch::Tensor frequencies = torch::tensor(inverse).to(options.device());
  const torch::Tensor positions =
      torch::arange(length, torch::dtype(torch::kFloat32).device(options.device()));
  const torch::Tensor half = torch::outer(positions, frequencies);
  const torch::Tensor angles = torch::cat({half, half}, -1);
  const auto dtype = torch::typeMetaToScalarType(options.dtype());
  return {angles.cos().to(dtype), angles.sin().to(dtype)};
}

namespace {

// Pairs (i, i + head_dim / 2) are rotated. x: [rows, heads, length, head_dim].
torch::Tensor Rotate(const torch::Tensor& x, const RopeTable& rope) {
  const auto halves = x.chunk(2, -1);
  return x * rope.cos + torch::cat({-halves[1], halves[0]}, -1) * rope.sin;
}

// Each head of keys or values serves several heads of queries.
torch::Tensor RepeatHeads(const torch::Tensor& x, int64_t times) {
  return times == 1 ? x : x.repeat_interleave(times, 1);
}

}  // namespace

AttentionImpl::AttentionImpl(const LlamaConfig& config)
    : num_heads_(config.num_attention_heads),
      num_kv_heads_(config.num_key_value_heads),
      head_dim_(config.head_dim) {
  const bool bias = config.attention_bias;
  const int64_t hidden = config.hidden_size;
  q_proj_ = register_module("q_proj", Linear(hidden, num_heads_ * head_dim_, bias));
  k_proj_ = register_module("k_proj", Linear(hidden, num_kv_heads_ * head_dim_, bias));
  v_proj_ = register_module("v_proj", Linear(hidden, num_kv_heads_ * head_dim_, bias));
  o_proj_ = register_module("o_proj", Linear(num_heads_ * head_dim_, hidden, bias));
}

torch::Tensor AttentionImpl::Heads(const torch::Tensor& x, int64_t num_heads) const {
  return x.view({x.size(0), x.size(1), num_heads, head_dim_}).transpose(1, 2);
}

torch::Tensor AttentionImpl::forward(const torch::Tensor& x, const RopeTable& rope,
                                     AttentionGuide* guide) {
  const int64_t group = num_heads_ / num_kv_heads_;
  const torch::Tensor query = Rotate(Heads(q_proj_(x), num_heads_), rope);
  const torch::Tensor key = RepeatHeads(Rotate(Heads(k_proj_(x), num_kv_heads_), rope), group);
  const torch::Tensor value = RepeatHeads(Heads(v_proj_(x), num_kv_heads_), group);
  if (guide != nullptr) guide->Add(query.select(1, 0), key.select(1, 0));
  const torch::Tensor attended = at::scaled_dot_product_attention(
      query, key, value, /*attn_mask=*/{}, /*dropout_p=*/0.0, /*is_causal=*/true);
  return o_proj_(attended.transpose(1, 2).reshape({x.size(0), x.size(1), num_heads_ * head_dim_}));
}

torch::Tensor AttentionImpl::Step(const torch::Tensor& x, const CacheStep& step,
                                  LayerCache& cache) {
  const int64_t rows = x.size(0), length = x.size(1), group = num_heads_ / num_kv_heads_;
  const torch::Tensor query = Rotate(Heads(q_proj_(x), num_heads_), step.rope);
  const torch::Tensor key = Rotate(Heads(k_proj_(x), num_kv_heads_), step.rope);
  const torch::Tensor places =
      step.positions.view({rows, 1, length, 1}).expand({rows, num_kv_heads_, length, head_dim_});
  cache.keys.scatter_(2, places, key);
  cache.values.scatter_(2, places, Heads(v_proj_(x), num_kv_heads_));
  torch::Tensor keys = cache.keys.narrow(2, 0, step.visible);
  torch::Tensor values = cache.values.narrow(2, 0, step.visible);
  std::optional<torch::Tensor> mask;
  if (step.mask.defined()) mask = step.mask;
  if (length == 1) {  // heads that share keys are rows of one product: nothing is repeated
    const torch::Tensor grouped = query.view({rows, num_kv_heads_, group, head_dim_});
    return o_proj_(at::scaled_dot_product_attention(grouped, keys, values, mask)
                       .reshape({rows, 1, num_heads_ * head_dim_}));
  }
  const torch::Tensor attended = at::scaled_dot_product_attention(query, RepeatHeads(keys, group),
                                                                  RepeatHeads(values, group), mask);
  return o_proj_(attended.transpose(1, 2).reshape({rows, length, num_heads_ * head_dim_}));
}

MlpImpl::MlpImpl(const LlamaConfig& config) {
  const int64_t hidden = config.hidden_size, ffn = config.intermediate_size;
  gate_proj_ = register_module("gate_proj", Linear(hidden, ffn, config.mlp_bias));
  up_proj_ = register_module("up_proj", Linear(hidden, ffn, config.mlp_bias));
  down_proj_ = register_module("down_proj", Linear(ffn, hidden, config.mlp_bias));
}

torch::Tensor MlpImpl::forward(const torch::Tensor& x) {
  return down_proj_(F::silu(gate_proj_(x)) * up_proj_(x));
}

DecoderLayerImpl::DecoderLayerImpl(const LlamaConfig& config) {
  const auto norm = [&] { return RmsNorm(config.hidden_size, config.rms_norm_eps); };
  self_attn_ = register_module("self_attn", Attention(config));
  mlp_ = register_module("mlp", Mlp(config));
  input_layernorm_ = register_module("input_layernorm", norm());
  post_attention_layernorm_ = register_module("post_attention_layernorm", norm());
}

torch::Tensor DecoderLayerImpl::forward(const torch::Tensor& x, const RopeTable& rope,
                                        AttentionGuide* guide) {
  const torch::Tensor attended = x + self_attn_(input_layernorm_(x), rope, guide);
  return attended + mlp_(post_attention_layernorm_(attended));
}

torch::Tensor DecoderLayerImpl::Step(const torch::Tensor& x, const CacheStep& step,
                                     LayerCache& cache) {
  const torch::Tensor attended = x + self_attn_->Step(input_layernorm_(x), step, cache);
  return attended + mlp_(post_attention_layernorm_(attended));
}

}  // namespace csm::train

#include "torch/mimi_layers.h"

#include <fmt/format.h>

#include "checkpoint/tensor_values.h"
#include "kernels/rope.h"

namespace csm::train {
namespace {

// Attention of the shape that CSM's stacks have too.
LlamaConfig AttentionConfig(const MimiConfig& config) {
  LlamaConfig shape;
  shape.hidden_size = config.hidden_size;
  shape.num_hidden_layers = config.num_hidden_layers;
  shape.num_attention_heads = config.num_attention_heads;
  shape.num_key_value_heads = config.num_key_value_heads;
  shape.head_dim = config.head_dim;
  shape.attention_bias = config.attention_bias;
  return shape;
}

}  // namespace

torch::Tensor CodecWeights::Get(const std::string& name) {
  torch::Tensor& loaded = loaded_[name];
  if (!loaded.defined()) loaded = Load(name);
  return loaded;
}

torch::Tensor CodecWeights::Load(const std::string& name) const {
  const checkpoint::TensorView* stored = checkpoint_.tensors->Find(checkpoint_.prefix + name);
  torch::Tensor values = torch::empty(stored->shape, torch::kFloat32);
  checkpoint::ConvertElements(*stored, 0, checkpoint::NumElements(*stored), values.data_ptr(),
                              DType::kF32);
  return values.to(device_);
}

StreamConv::StreamConv(CodecWeights& weights, const std::string& name, const Shape& shape)
    : shape_(shape), weight_(weights.Get(name + ".weight")), bias_(weights.Get(name + ".bias")) {
  const int64_t looks_back = (weight_.size(2) - 1) * shape.dilation;
  before_ = torch::zeros({shape.rows, weight_.size(1), looks_back}, weights.options());
}

torch::Tensor StreamConv::Step(const torch::Tensor& x, const torch::Tensor& is_new) {
  torch::Tensor input = shape_.elu ? torch::elu(x) : x;
  if (const int64_t looks_back = before_.size(2); looks_back > 0) {
    const torch::Tensor before =
        shape_.replicates ? torch::where(is_new, input.narrow(2, 0, 1).expand_as(before_), before_)
                          : before_.masked_fill(is_new, 0);
    input = torch::cat({before, input}, 2);
    before_.copy_(input.narrow(2, input.size(2) - looks_back, looks_back));
  }
  constexpr int64_t kNoPadding = 0;  // a plain 0 may be a string too
  return torch::conv1d(input, weight_, bias_, /*stride=*/1, at::IntArrayRef(kNoPadding),
                       shape_.dilation);
}

StreamConvTranspose::StreamConvTranspose(CodecWeights& weights, const std::string& name,
                                         const Shape& shape)
    : shape_(shape), weight_(weights.Get(name + ".weight")) {
  if (shape.bias) bias_ = weights.Get(name + ".bias");
  const int64_t taps = (weight_.size(2) + shape.stride - 1) / shape.stride;
  before_ = torch::zeros({shape.rows, weight_.size(0), taps - 1}, weights.options());
}

torch::Tensor StreamConvTranspose::Step(const torch::Tensor& x, const torch::Tensor& is_new) {
  const int64_t num_before = before_.size(2), length = x.size(2);
  torch::Tensor input = shape_.elu ? torch::elu(x) : x;
  input = torch::cat({before_.masked_fill(is_new, 0), input}, 2);
  before_.copy_(input.narrow(2, length, num_before));
  const torch::Tensor output =
      torch::conv_transpose1d(input, weight_, bias_, shape_.stride, /*padding=*/0,
                              /*output_padding=*/0, shape_.groups);
  return output.narrow(2, num_before * shape_.stride, length * shape_.stride);
}

StreamResnetBlock::StreamResnetBlock(CodecWeights& weights, const std::string& name, int64_t rows,
                                     int64_t dilation)
    : squeeze_(
          weights, name + ".block.1.conv",
          {.rows = rows, .dilation = dilation, .elu = true, .replicates = weights.replicates()}),
      expand_(weights, name + ".block.3.conv", {.rows = rows, .elu = true}) {
  if (weights.config().use_conv_shortcut) {
    shortcut_.emplace(weights, name + ".shortcut.conv", StreamConv::Shape{.rows = rows});
  }
}

torch::Tensor StreamResnetBlock::Step(const torch::Tensor& x, const torch::Tensor& is_new) {
  const torch::Tensor residual = shortcut_ ? shortcut_->Step(x, is_new) : x;
  return residual + expand_.Step(squeeze_.Step(x, is_new), is_new);
}

StreamTransformer::StreamTransformer(CodecWeights& weights, const std::string& prefix, int64_t rows,
                                     int64_t step_length)
    : window_(weights.config().sliding_window),
      // The first of a step's positions still sees what its own window holds.
      capacity_(window_ + step_length - 1),
      head_dim_(weights.config().head_dim),
      norm_eps_(weights.config().norm_eps),
      inverse_frequencies_(torch::tensor(kernels::RopeInverseFrequencies(
                                             weights.config().rope_parameters, head_dim_))
                               .to(weights.options())),
      slots_(torch::arange(capacity_, weights.options().dtype(torch::kInt64))),
      ahead_(slots_.narrow(0, 0, step_length)),
      length_(torch::zeros({rows}, weights.options().dtype(torch::kInt64))) {
  const LlamaConfig shape = AttentionConfig(weights.config());
  cache_ = StaticCache(shape, rows, capacity_, weights.options());
  for (int64_t i = 0; i < shape.num_hidden_layers; ++i) {
    const std::string name = fmt::format("{}layers.{}.", prefix, i);
    const auto norm = [&](const std::string& part) {
      return Norm{weights.Get(name + part + ".weight"), weights.Get(name + part + ".bias")};
    };
    Attention attention(shape);
    attention->to(weights.options().device());
    for (auto& parameter : attention->named_parameters()) {
      parameter.value().set_data(weights.Get(name + "self_attn." + parameter.key()));
    }
    layers_.push_back({norm("input_layernorm"), norm("post_attention_layernorm"), attention,
                       weights.Get(name + "mlp.fc1.weight"), weights.Get(name + "mlp.fc2.weight"),
                       weights.Get(name + "self_attn_layer_scale.scale"),
                       weights.Get(name + "mlp_layer_scale.scale")});
  }
}

CacheStep StreamTransformer::NextStep(const torch::Tensor& is_new) {
  length_.masked_fill_(is_new.flatten(), 0);
  const torch::Tensor positions = length_.unsqueeze(1) + ahead_;  // [rows, step_length]
  const torch::Tensor last = positions.narrow(1, ahead_.size(0) - 1, 1);
  // The position that each slot of the ring holds, once the step's own are there; below 0: none.
  const torch::Tensor held = last - torch::remainder(last - slots_, capacity_);
  const torch::Tensor seen_from = positions.unsqueeze(-1), keys = held.unsqueeze(1);
  const torch::Tensor mask =
      (keys >= 0).logical_and(keys <= seen_from).logical_and(keys > seen_from - window_);
  const torch::Tensor half = positions.unsqueeze(-1) * inverse_frequencies_;
  const torch::Tensor angles = torch::cat({half, half}, -1).unsqueeze(1);
  length_.add_(ahead_.size(0));
  return {torch::remainder(positions, capacity_),
          capacity_,
          mask.unsqueeze(1),
          {angles.cos(), angles.sin()}};
}

torch::Tensor StreamTransformer::Normalize(const Norm& norm, const torch::Tensor& x) const {
  return torch::layer_norm(x, {x.size(-1)}, norm.weight, norm.bias, norm_eps_);
}

torch::Tensor StreamTransformer::Step(const torch::Tensor& signal, const torch::Tensor& is_new) {
  const CacheStep step = NextStep(is_new);
  torch::Tensor x = signal.transpose(1, 2);
  for (size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const torch::Tensor attended =
        layer.attention->Step(Normalize(layer.input_norm, x), step, cache_.layers[i]);
    x = x + layer.attention_scale * attended;
    const torch::Tensor hidden =
        torch::gelu(torch::linear(Normalize(layer.post_attention_norm, x), layer.fc1));
    x = x + layer.mlp_scale * torch::linear(hidden, layer.fc2);
  }
  return x.transpose(1, 2);
}

}  // namespace csm::train

// The layers that both Llama-like stacks are made of, trainable: named as in transformers, so that
// named_parameters() gives the tensor names of a checkpoint. Parameters are made without values;
// LoadModel (parameters.h) fills them.
#ifndef CSM_TORCH_LAYERS_H_
#define CSM_TORCH_LAYERS_H_

#include <torch/torch.h>

#include <cstdint>
#include <memory>

#include "csm/csm.hpp"

namespace csm::train {

/// y = x W^T (+ bias); W is [outputs, inputs].
class LinearImpl : public torch::nn::Module {
 public:
  LinearImpl(int64_t inputs, int64_t outputs, bool has_bias);
  torch::Tensor forward(const torch::Tensor& x);

  /// Adds a low-rank term, alpha / rank * B A dropout(x): parameters lora_A.weight [rank, inputs]
  /// and lora_B.weight [outputs, rank], in f32, without values.
  void Adapt(int64_t rank, double alpha, double dropout);
  bool is_adapted() const { return lora_a_ != nullptr; }
  LinearImpl& lora_a() { return *lora_a_; }
  LinearImpl& lora_b() { return *lora_b_; }

  torch::Tensor weight;
  torch::Tensor bias;  ///< undefined if there is none

 private:
  std::shared_ptr<LinearImpl> lora_a_, lora_b_;
  double scale_ = 0, dropout_ = 0;
};
TORCH_MODULE(Linear);

/// A table [count, width] to look rows up in.
class EmbeddingImpl : public torch::nn::Module {
 public:
  EmbeddingImpl(int64_t count, int64_t width);
  torch::Tensor forward(const torch::Tensor& ids) const;

  torch::Tensor weight;
};
TORCH_MODULE(Embedding);

/// x / rms(x) in f32, cast back, then times the weight.
class RmsNormImpl : public torch::nn::Module {
 public:
  RmsNormImpl(int64_t width, double epsilon);
  torch::Tensor forward(const torch::Tensor& x) const;

  torch::Tensor weight;

 private:
  double epsilon_;
};
TORCH_MODULE(RmsNorm);

/// Rotary angles of positions 0 to length - 1: [length, head_dim] each, both halves alike.
struct RopeTable {
  torch::Tensor cos, sin;
};
RopeTable MakeRopeTable(const LlamaConfig& config, int64_t length,
                        const torch::TensorOptions& options);

class AttentionGuide;
struct CacheStep;
struct LayerCache;

/// Causal attention with grouped keys and values.
class AttentionImpl : public torch::nn::Module {
 public:
  explicit AttentionImpl(const LlamaConfig& config);
  /// x: [rows, length, hidden_size]. `guide`: gets the first head's attention; null: none.
  torch::Tensor forward(const torch::Tensor& x, const RopeTable& rope, AttentionGuide* guide);
  /// The same on from what `cache` holds, for speaking: x is the step's positions.
  torch::Tensor Step(const torch::Tensor& x, const CacheStep& step, LayerCache& cache);

 private:
  torch::Tensor Heads(const torch::Tensor& x, int64_t num_heads) const;
  int64_t num_heads_, num_kv_heads_, head_dim_;
  Linear q_proj_{nullptr}, k_proj_{nullptr}, v_proj_{nullptr}, o_proj_{nullptr};
};
TORCH_MODULE(Attention);

/// down(silu(gate x) * up x).
class MlpImpl : public torch::nn::Module {
 public:
  explicit MlpImpl(const LlamaConfig& config);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  Linear gate_proj_{nullptr}, up_proj_{nullptr}, down_proj_{nullptr};
};
TORCH_MODULE(Mlp);

class DecoderLayerImpl : public torch::nn::Module {
 public:
  explicit DecoderLayerImpl(const LlamaConfig& config);
  torch::Tensor forward(const torch::Tensor& x, const RopeTable& rope, AttentionGuide* guide);
  torch::Tensor Step(const torch::Tensor& x, const CacheStep& step, LayerCache& cache);

 private:
  RmsNorm input_layernorm_{nullptr}, post_attention_layernorm_{nullptr};
  Attention self_attn_{nullptr};
  Mlp mlp_{nullptr};
};
TORCH_MODULE(DecoderLayer);

}  // namespace csm::train

#endif  // CSM_TORCH_LAYERS_H_

// CSM as trainable modules, named as in transformers: named_parameters() gives the tensor names of
// a checkpoint. The generation engine has no part in this; configs, tensors and prompts are its
// own.
#ifndef CSM_TORCH_MODULES_H_
#define CSM_TORCH_MODULES_H_

#include <torch/torch.h>

#include <cstdint>

#include "csm/csm.hpp"
#include "torch/layers.h"
#include "torch/static_cache.h"

namespace csm::train {

/// Layers and final norm; what comes in is embedded already.
class LlamaStackImpl : public torch::nn::Module {
 public:
  explicit LlamaStackImpl(const LlamaConfig& config);
  /// From now on layers keep their input alone for the backward pass (recompute.h).
  void UseGradientCheckpointing() { is_checkpointing_ = true; }
  /// x: the step's positions [rows, length, hidden_size] -> the same, after the final norm. For
  /// speaking: without gradients.
  torch::Tensor Step(torch::Tensor x, const CacheStep& step, StaticCache& cache);

 protected:
  /// Called last in a constructor: the order of a module's parts is that of its parameters.
  void AddLayers();
  /// x: [rows, length, hidden_size] -> the same, after the final norm. `guide`: of some heads'
  /// attention, or null; not with gradient checkpointing.
  torch::Tensor Run(torch::Tensor x, AttentionGuide* guide = nullptr);

  LlamaConfig config_;

 private:
  torch::nn::ModuleList layers_{nullptr};
  RmsNorm norm_{nullptr};
  bool is_checkpointing_ = false;
};

/// Sum of the embeddings of a frame's codes.
class CodeEmbeddingsImpl : public torch::nn::Module {
 public:
  explicit CodeEmbeddingsImpl(const CsmConfig& config);
  /// frames: [n, num_codebooks] -> [n, hidden_size].
  torch::Tensor forward(const torch::Tensor& frames);

  Embedding embed_audio_tokens;

 private:
  int64_t vocab_size_;
};
TORCH_MODULE(CodeEmbeddings);

class BackboneModelImpl : public LlamaStackImpl {
 public:
  explicit BackboneModelImpl(const CsmConfig& config);
  /// embeddings: [rows, length, hidden_size] -> the same, after the final norm.
  torch::Tensor forward(const torch::Tensor& embeddings, AttentionGuide* guide);

  CodeEmbeddings embed_tokens;
};
TORCH_MODULE(BackboneModel);

/// Reads frames whole: position 0 is the backbone's hidden state, position p the code p - 1.
class DepthDecoderModelImpl : public LlamaStackImpl {
 public:
  /// `tied`: the table shared with the backbone, which then names it; null: one of its own.
  DepthDecoderModelImpl(const CsmDepthDecoderConfig& config, Embedding tied);
  /// hidden: [n, backbone_hidden_size], codes: [n, num_codebooks - 1] -> [n, num_codebooks,
  /// hidden_size].
  torch::Tensor forward(const torch::Tensor& hidden, const torch::Tensor& codes);
  /// What a step reads: hidden [rows, length, backbone_hidden_size] -> [rows, length, hidden_size].
  torch::Tensor Project(const torch::Tensor& hidden) { return inputs_embeds_projector_(hidden); }
  /// code [rows] of codebook `codebook` -> [rows, backbone_hidden_size].
  torch::Tensor Embed(int64_t codebook, const torch::Tensor& code);

 private:
  Embedding embed_tokens_;
  Linear inputs_embeds_projector_{nullptr};
};
TORCH_MODULE(DepthDecoderModel);

/// Heads of codebooks 1..: weight [num_codebooks - 1, hidden_size, vocab_size].
class CodebooksHeadImpl : public torch::nn::Module {
 public:
  explicit CodebooksHeadImpl(const CsmDepthDecoderConfig& config);
  /// hidden: [n, num_codebooks - 1, hidden_size] -> [num_codebooks - 1, n, vocab_size].
  torch::Tensor forward(const torch::Tensor& hidden) const;
  /// hidden: [rows, hidden_size] -> logits of one codebook [rows, vocab_size].
  torch::Tensor Logits(int64_t codebook, const torch::Tensor& hidden) const;

  torch::Tensor weight;
};
TORCH_MODULE(CodebooksHead);

class DepthDecoderForCausalLMImpl : public torch::nn::Module {
 public:
  DepthDecoderForCausalLMImpl(const CsmDepthDecoderConfig& config, Embedding tied);
  /// Sum of the cross-entropies of codebooks 1.. of these frames [n, num_codebooks], each from the
  /// backbone's hidden state [n, backbone_hidden_size] one position before it. Computed in f32.
  torch::Tensor forward(const torch::Tensor& hidden, const torch::Tensor& frames);

  DepthDecoderModel model;
  CodebooksHead codebooks_head;
};
TORCH_MODULE(DepthDecoderForCausalLM);

/// What is learnt from a batch, as tensors (batch.h makes them). n frames in all, of which
/// num_backbone have a code 0 to learn, num_depth the rest.
struct Batch {
  torch::Tensor input_ids;        ///< [rows, length], padded on the right
  torch::Tensor frames;           ///< [n, num_codebooks]: audio, and the ends of audio
  torch::Tensor frame_positions;  ///< [n] of the frames, in input_ids flattened
  torch::Tensor backbone_from;    ///< [num_backbone] flattened positions that predict code 0
  torch::Tensor backbone_labels;  ///< [num_backbone]
  torch::Tensor depth_from;       ///< [num_depth] flattened positions that predict the rest
  torch::Tensor depth_frames;     ///< [num_depth, num_codebooks]
  torch::Tensor attention_guide;  ///< as MakeAttentionGuide gives; undefined: attention is free

  Batch To(const torch::Device& device) const;
};

/// Each a sum of cross-entropies, in f32, and how many they are of.
struct LossSums {
  torch::Tensor backbone, depth_decoder;
  torch::Tensor attention;  ///< of AttentionGuide, for codes 0; undefined without one
  int64_t num_backbone = 0, num_depth_decoder = 0;

  /// HF's losses: means, of codes 0 and of all codes of the depth decoder.
  torch::Tensor BackboneLoss() const;
  torch::Tensor DepthDecoderLoss() const;
};

class CsmForConditionalGenerationImpl : public torch::nn::Module {
 public:
  explicit CsmForConditionalGenerationImpl(const CsmConfig& config);
  LossSums forward(const Batch& batch);
  const CsmConfig& config() const { return config_; }
  void UseGradientCheckpointing();  ///< in both stacks

  Linear lm_head;
  Embedding embed_text_tokens;
  BackboneModel backbone_model;
  DepthDecoderForCausalLM depth_decoder{nullptr};

 private:
  CsmConfig config_;
};
TORCH_MODULE(CsmForConditionalGeneration);

}  // namespace csm::train

#endif  // CSM_TORCH_MODULES_H_

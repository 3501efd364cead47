#include "torch/modules.h"

#include <optional>
#include <utility>

#include "torch/attention_guide.h"
#include "torch/recompute.h"

namespace csm::train {

namespace F = torch::nn::functional;

namespace {

// Rows of the codes of codebooks 0, 1, … [..., codebooks] in the one table of all.
torch::Tensor TableRows(const torch::Tensor& codes, int64_t vocab_size) {
  return codes + torch::arange(codes.size(-1), codes.options()) * vocab_size;
}

torch::Tensor SumOfCrossEntropies(const torch::Tensor& logits, const torch::Tensor& labels) {
  return F::cross_entropy(logits.to(torch::kFloat32), labels,
                          F::CrossEntropyFuncOptions().reduction(torch::kSum));
}

}  // namespace

LlamaStackImpl::LlamaStackImpl(const LlamaConfig& config) : config_(config) {}

void LlamaStackImpl::AddLayers() {
  layers_ = register_module("layers", torch::nn::ModuleList());
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) layers_->push_back(DecoderLayer(config_));
  norm_ = register_module("norm", RmsNorm(config_.hidden_size, config_.rms_norm_eps));
}

torch::Tensor LlamaStackImpl::Run(torch::Tensor x, AttentionGuide* guide) {
  const RopeTable rope = MakeRopeTable(config_, x.size(1), x.options());
  const bool recomputes = is_checkpointing_ && torch::GradMode::is_enabled();
  // Of an adapter's layers, nothing may have asked for a gradient so far.
  if (recomputes && !x.requires_grad()) x.requires_grad_();
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) {
    auto* layer = layers_[static_cast<size_t>(i)]->as<DecoderLayer>();
    AttentionGuide* const own = guide != nullptr && guide->IsGuided(i) ? guide : nullptr;
    const auto run = [layer, rope, own](const torch::Tensor& in) {
      return layer->forward(in, rope, own);
    };
    x = recomputes ? Recompute(x, run) : run(x);
  }
  return norm_(x);
}

torch::Tensor LlamaStackImpl::Step(torch::Tensor x, const CacheStep& step, StaticCache& cache) {
  for (size_t i = 0; i < cache.layers.size(); ++i) {
    x = layers_[i]->as<DecoderLayer>()->Step(x, step, cache.layers[i]);
  }
  return norm_(x);
}

CodeEmbeddingsImpl::CodeEmbeddingsImpl(const CsmConfig& config)
    : embed_audio_tokens(
          register_module("embed_audio_tokens",
                          Embedding(config.num_codebooks * config.vocab_size, config.hidden_size))),
      vocab_size_(config.vocab_size) {}

torch::Tensor CodeEmbeddingsImpl::forward(const torch::Tensor& frames) {
  return embed_audio_tokens(TableRows(frames, vocab_size_)).sum(-2);
}

BackboneModelImpl::BackboneModelImpl(const CsmConfig& config)
    : LlamaStackImpl(config),
      embed_tokens(register_module("embed_tokens", CodeEmbeddings(config))) {
  AddLayers();
}

torch::Tensor BackboneModelImpl::forward(const torch::Tensor& embeddings, AttentionGuide* guide) {
  return Run(embeddings, guide);
}

DepthDecoderModelImpl::DepthDecoderModelImpl(const CsmDepthDecoderConfig& config, Embedding tied)
    : LlamaStackImpl(config), embed_tokens_(std::move(tied)) {
  if (embed_tokens_.is_empty()) {
    embed_tokens_ = register_module(
        "embed_tokens",
        Embedding(config.num_codebooks * config.vocab_size, config.backbone_hidden_size));
  }
  inputs_embeds_projector_ = register_module(
      "inputs_embeds_projector", Linear(config.backbone_hidden_size, config.hidden_size, false));
  AddLayers();
}

torch::Tensor DepthDecoderModelImpl::forward(const torch::Tensor& hidden,
                                             const torch::Tensor& codes) {
  const torch::Tensor embedded = embed_tokens_(TableRows(codes, config_.vocab_size));
  const torch::Tensor inputs = torch::cat({hidden.unsqueeze(1).to(embedded.dtype()), embedded}, 1);
  return Run(inputs_embeds_projector_(inputs));
}

torch::Tensor DepthDecoderModelImpl::Embed(int64_t codebook, const torch::Tensor& code) {
  return embed_tokens_(code + codebook * config_.vocab_size);
}

CodebooksHeadImpl::CodebooksHeadImpl(const CsmDepthDecoderConfig& config)
    : weight(register_parameter("weight", torch::empty({config.num_codebooks - 1,
                                                        config.hidden_size, config.vocab_size}))) {}

torch::Tensor CodebooksHeadImpl::forward(const torch::Tensor& hidden) const {
  return torch::bmm(hidden.transpose(0, 1), weight);
}

torch::Tensor CodebooksHeadImpl::Logits(int64_t codebook, const torch::Tensor& hidden) const {
  return torch::mm(hidden, weight[codebook - 1]);
}

DepthDecoderForCausalLMImpl::DepthDecoderForCausalLMImpl(const CsmDepthDecoderConfig& config,
                                                         Embedding tied)
    : model(register_module("model", DepthDecoderModel(config, std::move(tied)))),
      codebooks_head(register_module("codebooks_head", CodebooksHead(config))) {}

torch::Tensor DepthDecoderForCausalLMImpl::forward(const torch::Tensor& hidden,
                                                   const torch::Tensor& frames) {
  const int64_t num_codes = frames.size(1) - 1;
  const torch::Tensor states = model(hidden, frames.narrow(1, 0, num_codes));
  const torch::Tensor logits = codebooks_head(states.narrow(1, 1, num_codes));
  const torch::Tensor labels = frames.narrow(1, 1, num_codes).transpose(0, 1);
  return SumOfCrossEntropies(logits.flatten(0, 1), labels.flatten());
}

Batch Batch::To(const torch::Device& device) const {
  return {input_ids.to(device),
          frames.to(device),
          frame_positions.to(device),
          backbone_from.to(device),
          backbone_labels.to(device),
          depth_from.to(device),
          depth_frames.to(device),
          attention_guide.defined() ? attention_guide.to(device) : attention_guide};
}

torch::Tensor LossSums::BackboneLoss() const {
  return backbone / static_cast<double>(num_backbone);
}
torch::Tensor LossSums::DepthDecoderLoss() const {
  return depth_decoder / static_cast<double>(num_depth_decoder);
}

CsmForConditionalGenerationImpl::CsmForConditionalGenerationImpl(const CsmConfig& config)
    : lm_head(register_module("lm_head", Linear(config.hidden_size, config.vocab_size, false))),
      embed_text_tokens(register_module("embed_text_tokens",
                                        Embedding(config.text_vocab_size, config.hidden_size))),
      backbone_model(register_module("backbone_model", BackboneModel(config))),
      config_(config) {
  const Embedding tied = config.tie_codebooks_embeddings
                             ? backbone_model->embed_tokens->embed_audio_tokens
                             : Embedding(nullptr);
  depth_decoder =
      register_module("depth_decoder", DepthDecoderForCausalLM(config.depth_decoder_config, tied));
}

void CsmForConditionalGenerationImpl::UseGradientCheckpointing() {
  backbone_model->UseGradientCheckpointing();
  depth_decoder->model->UseGradientCheckpointing();
}

LossSums CsmForConditionalGenerationImpl::forward(const Batch& batch) {
  const torch::Tensor text = embed_text_tokens(batch.input_ids);
  const torch::Tensor frames = backbone_model->embed_tokens(batch.frames);
  const torch::Tensor embeddings =
      text.flatten(0, 1).index_copy(0, batch.frame_positions, frames).view_as(text);
  std::optional<AttentionGuide> guide;
  if (batch.attention_guide.defined()) {
    guide.emplace(batch.attention_guide, config_.num_hidden_layers);
  }
  const torch::Tensor hidden = backbone_model(embeddings, guide ? &*guide : nullptr).flatten(0, 1);

  LossSums sums;
  sums.num_backbone = batch.backbone_labels.size(0);
  sums.num_depth_decoder = batch.depth_frames.size(0) * (config_.num_codebooks - 1);
  sums.backbone = SumOfCrossEntropies(lm_head(hidden.index_select(0, batch.backbone_from)),
                                      batch.backbone_labels);
  if (guide) sums.attention = guide->Loss();
  sums.depth_decoder = depth_decoder(hidden.index_select(0, batch.depth_from), batch.depth_frames);
  return sums;
}

}  // namespace csm::train

#include "engine/csm_model.h"

#include <algorithm>

#include "base/error.h"
#include "engine/losses.h"
#include "engine/prompt.h"
#include "mimi/codec.h"
#include "model/stack_call.h"

namespace csm {

CsmForConditionalGeneration CsmForConditionalGeneration::from_pretrained(
    const std::filesystem::path& dir, const LoadOptions& options) {
  auto checkpoint = checkpoint::OpenCsmCheckpoint(dir);
  const Runtime runtime = options.runtime.value_or(Runtime());
  checkpoint::WeightLoader loader(checkpoint.tensors, options.dtype);
  auto backbone = std::make_shared<CsmBackboneModel::Impl>(checkpoint, loader, runtime);
  auto depth_decoder = std::make_shared<CsmDepthDecoderModel::Impl>(checkpoint, loader, runtime);
  MimiModel codec(mimi::LoadMimi(checkpoint::CodecOf(checkpoint), runtime));
  return CsmForConditionalGeneration(
      std::make_shared<Impl>(Impl{std::move(checkpoint), std::move(backbone),
                                  std::move(depth_decoder), std::move(codec), options.dtype}));
}

void CsmForConditionalGeneration::save_pretrained(const std::filesystem::path& dir) const {
  checkpoint::SaveCsmCheckpoint(impl_->checkpoint, dir, impl_->dtype);
}

const CsmConfig& CsmForConditionalGeneration::config() const { return impl_->checkpoint.config; }

const GenerationConfig& CsmForConditionalGeneration::generation_config() const {
  return impl_->checkpoint.generation_config;
}

CsmBackboneModel CsmForConditionalGeneration::backbone_model() const {
  return CsmBackboneModel(impl_->backbone);
}

CsmDepthDecoderForCausalLM CsmForConditionalGeneration::depth_decoder() const {
  return CsmDepthDecoderForCausalLM(std::make_shared<CsmDepthDecoderForCausalLM::Impl>(
      CsmDepthDecoderForCausalLM::Impl{impl_->depth_decoder}));
}

MimiModel CsmForConditionalGeneration::codec_model() const { return impl_->codec; }

CsmOutput CsmForConditionalGeneration::forward(const CsmInputs& inputs,
                                               const ForwardOptions& options) const {
  const CsmConfig& model_config = impl_->checkpoint.config;
  std::vector<Codes> frames;
  std::vector<Matrix> embeddings;
  for (const CsmInputs::Row& row : inputs.rows) {
    frames.push_back(engine::EncodeClips(row, impl_->codec, model_config));
    embeddings.push_back(engine::EmbedPrompt(row, frames.back(), *impl_->backbone));
  }
  std::vector<StackInput> batch;
  for (const Matrix& row : embeddings) batch.push_back({.inputs_embeds = &row});
  std::vector<StackOutput> states = backbone_model().forward(batch, options);

  CsmOutput output;
  const bool has_labels = std::any_of(inputs.rows.begin(), inputs.rows.end(),
                                      [](const auto& row) { return !row.labels.empty(); });
  const ForwardOptions logit_options{.logits_to_keep = has_labels ? 0 : options.logits_to_keep};
  std::vector<engine::LossRow> loss_rows;
  output.logits.reserve(states.size());
  for (size_t r = 0; r < states.size(); ++r) {
    const Matrix& hidden = states[r].last_hidden_state;
    const int64_t first = model::FirstLogitPosition(hidden.rows, logit_options);
    Matrix& logits = output.logits.emplace_back(hidden.rows - first, model_config.vocab_size);
    impl_->backbone->Logits(
        std::span(hidden.data).subspan(static_cast<size_t>(first * hidden.cols)), logits.rows,
        logits.data.data());
    if (has_labels) loss_rows.push_back({inputs.rows[r], frames[r], hidden, logits});
    if (options.output_hidden_states)
      output.hidden_states.push_back(std::move(states[r].hidden_states));
  }
  if (has_labels) {
    const auto losses = engine::ComputeLosses(loss_rows, model_config, *impl_->depth_decoder);
    output.backbone_loss = losses.backbone;
    output.depth_decoder_loss = losses.depth_decoder;
    output.loss = losses.backbone + losses.depth_decoder;
  }
  return output;
}

}  // namespace csm

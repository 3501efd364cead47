#include "engine/csm_model.h"

#include <algorithm>

#include "base/error.h"
#include "engine/losses.h"
#include "engine/prompt.h"
#include "mimi/codec.h"
#include "model/stack_call.h"

namespace csm {

CsmForConditionalGeneration engine::LoadModel(checkpoint::CsmCheckpoint checkpoint,
                                              const LoadOptions& given) {
  LoadOptions options = given;
  options.runtime = RuntimeOf(given);
  auto device = IsOwnKernels(options.device) ? nullptr : LoadDeviceModel(checkpoint, options);
  return LoadModel(std::move(checkpoint), options, std::move(device));
}

CsmForConditionalGeneration engine::LoadModel(checkpoint::CsmCheckpoint checkpoint,
                                              const LoadOptions& options,
                                              std::shared_ptr<const DeviceModel> device) {
  LoadOptions own = options;
  own.runtime = RuntimeOf(options);
  auto stacks = std::make_unique<const LazyStacks>(checkpoint, own);
  std::shared_ptr<const model::PromptEmbeddings> embeddings;
  if (device == nullptr) {
    const auto& backbone = stacks->Get().backbone;
    embeddings = {backbone, &backbone->embeddings};
  } else {
    checkpoint::WeightLoader loader(checkpoint.tensors);  // the tables are mapped, not read
    embeddings = std::make_shared<const model::PromptEmbeddings>(checkpoint, loader);
  }
  MimiModel codec(mimi::LoadMimi(checkpoint::CodecOf(checkpoint), *own.runtime, options.dtype));
  using Impl = CsmForConditionalGeneration::Impl;
  return CsmForConditionalGeneration(
      std::make_shared<Impl>(Impl{std::move(checkpoint), std::move(stacks), std::move(embeddings),
                                  std::move(codec), options.dtype, std::move(device)}));
}

engine::Stacks engine::LazyStacks::Load() const {
  const Runtime& runtime = *options_.runtime;
  checkpoint::WeightLoader loader(checkpoint_.tensors, options_.dtype, &runtime.impl()->pool,
                                  checkpoint::PrecisionOf(checkpoint_, options_));
  auto backbone = std::make_shared<CsmBackboneModel::Impl>(checkpoint_, loader, runtime);
  auto depth_decoder = std::make_shared<CsmDepthDecoderModel::Impl>(checkpoint_, loader, runtime);
  return {std::move(backbone), std::move(depth_decoder)};
}

CsmForConditionalGeneration CsmForConditionalGeneration::from_pretrained(
    const std::filesystem::path& dir, const LoadOptions& options) {
  return engine::LoadModel(checkpoint::OpenCsmCheckpoint(dir, options.adapter), options);
}

void CsmForConditionalGeneration::save_pretrained(const std::filesystem::path& dir) const {
  if (impl_->dtype && kernels::IsQuantized(*impl_->dtype)) {
    Fail<ArgumentError>(
        "safetensors files hold no quantized weights: save the model as it was loaded "
        "without a dtype, or in f32, f16 or bf16");
  }
  checkpoint::SaveCsmCheckpoint(impl_->checkpoint, dir, impl_->dtype);
}

const CsmConfig& CsmForConditionalGeneration::config() const { return impl_->checkpoint.config; }

const GenerationConfig& CsmForConditionalGeneration::generation_config() const {
  return impl_->checkpoint.generation_config;
}

CsmBackboneModel CsmForConditionalGeneration::backbone_model() const {
  return CsmBackboneModel(impl_->backbone());
}

CsmDepthDecoderForCausalLM CsmForConditionalGeneration::depth_decoder() const {
  return CsmDepthDecoderForCausalLM(std::make_shared<CsmDepthDecoderForCausalLM::Impl>(
      CsmDepthDecoderForCausalLM::Impl{impl_->depth_decoder()}));
}

MimiModel CsmForConditionalGeneration::codec_model() const { return impl_->codec; }

std::vector<StackOutput> CsmForConditionalGeneration::forward(std::span<const StackInput> batch,
                                                              const ForwardOptions& options) const {
  std::vector<StackOutput> outputs = backbone_model().forward(batch, options);
  for (StackOutput& output : outputs) {
    const Matrix& hidden = output.last_hidden_state;
    const int64_t first = model::FirstLogitPosition(hidden.rows, options);
    output.logits = Matrix(hidden.rows - first, impl_->checkpoint.config.vocab_size);
    impl_->backbone()->Logits(
        std::span(hidden.data).subspan(static_cast<size_t>(first * hidden.cols)),
        output.logits.rows, output.logits.data.data());
  }
  return outputs;
}

CsmOutput CsmForConditionalGeneration::forward(const CsmInputs& inputs,
                                               const ForwardOptions& options) const {
  const std::vector<engine::Prompt> prompts =
      engine::ReadPrompts(inputs.rows, impl_->codec, *impl_->embeddings);
  std::vector<StackInput> batch;
  for (const engine::Prompt& prompt : prompts) {
    batch.push_back({.inputs_embeds = &prompt.embeddings});
  }
  const bool has_labels = std::any_of(inputs.rows.begin(), inputs.rows.end(),
                                      [](const auto& row) { return !row.labels.empty(); });
  ForwardOptions stack_options = options;
  if (has_labels) stack_options.logits_to_keep = 0;
  std::vector<StackOutput> outputs = forward(batch, stack_options);

  CsmOutput output;
  std::vector<engine::LossRow> loss_rows;
  output.logits.reserve(outputs.size());  // the loss rows refer to them
  for (size_t r = 0; r < outputs.size(); ++r) {
    const Matrix& logits = output.logits.emplace_back(std::move(outputs[r].logits));
    if (has_labels) {
      loss_rows.push_back(
          {inputs.rows[r], prompts[r].frames, outputs[r].last_hidden_state, logits});
    }
    if (options.output_hidden_states) {
      output.hidden_states.push_back(std::move(outputs[r].hidden_states));
    }
  }
  if (has_labels) {
    const auto losses =
        engine::ComputeLosses(loss_rows, impl_->checkpoint.config, *impl_->depth_decoder());
    output.backbone_loss = losses.backbone;
    output.depth_decoder_loss = losses.depth_decoder;
    output.loss = losses.backbone + losses.depth_decoder;
  }
  return output;
}

}  // namespace csm

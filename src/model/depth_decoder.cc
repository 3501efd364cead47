#include "model/depth_decoder.h"

#include <algorithm>

#include "base/error.h"
#include "checkpoint/csm_tensors.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "model/stack_call.h"

namespace csm {

CsmDepthDecoderModel::Impl::Impl(const checkpoint::CsmCheckpoint& checkpoint,
                                 checkpoint::WeightLoader& loader, Runtime with_runtime)
    : config(checkpoint.config.depth_decoder_config),
      codebook_size(checkpoint.config.codec_config.codebook_size),
      embed_tokens(loader.Table(checkpoint.code_embeddings.depth_decoder,
                                config.num_codebooks * config.vocab_size,
                                config.backbone_hidden_size)),
      inputs_embeds_projector(model::LoadLinear(loader,
                                                "depth_decoder.model.inputs_embeds_projector",
                                                config.hidden_size, config.backbone_hidden_size)),
      codebooks_head(loader.Heads(checkpoint::kCodebooksHead, config.num_codebooks - 1,
                                  config.vocab_size, config.hidden_size)),
      stack(config, "depth_decoder.model.", loader),
      runtime(std::move(with_runtime)),
      memory(loader.memory()) {}

void CsmDepthDecoderModel::Impl::EmbedCode(int64_t codebook, int32_t code, float* out) const {
  if (code < 0 || code >= config.vocab_size) {
    Fail<ArgumentError>("codebook {} was given code {}; the model's codes are 0 to {}", codebook,
                        code, config.vocab_size - 1);
  }
  kernels::LoadRow(embed_tokens, static_cast<size_t>(codebook * config.vocab_size + code), out);
}

void CsmDepthDecoderModel::Impl::Project(const float* embeddings, int64_t num_rows,
                                         model::Scratch& scratch, float* out) const {
  const model::LinearOutput output[] = {{inputs_embeds_projector, out}};
  model::Multiply(
      {embeddings, static_cast<size_t>(num_rows), static_cast<size_t>(config.backbone_hidden_size)},
      output, scratch.low_rank, runtime.impl()->pool);
}

void CsmDepthDecoderModel::Impl::Logits(int64_t codebook, const float* hidden, int64_t num_rows,
                                        int64_t stride, float* logits) const {
  kernels::MatMul({hidden, static_cast<size_t>(num_rows), static_cast<size_t>(stride)},
                  {codebooks_head[static_cast<size_t>(codebook - 1)], nullptr, logits,
                   static_cast<size_t>(config.vocab_size)},
                  runtime.impl()->pool);
}

namespace {

// Embeddings [positions, backbone_hidden_size] of one row, before the projector. The first position
// of a frame is the backbone's state if given; its id is a placeholder then, as in HF.
std::vector<float> EmbedDepthRow(const CsmDepthDecoderModel::Impl& impl, const StackInput& input,
                                 int64_t first_position) {
  const int64_t width = impl.config.backbone_hidden_size;
  std::vector<float> result;
  if (input.inputs_embeds != nullptr) {
    result = input.inputs_embeds->data;
  } else {
    result.resize(input.input_ids.size() * static_cast<size_t>(width));
    for (size_t i = 0; i < input.input_ids.size(); ++i) {
      const int64_t codebook = std::max<int64_t>(0, first_position + static_cast<int64_t>(i) - 1);
      impl.EmbedCode(codebook, input.input_ids[i], result.data() + i * static_cast<size_t>(width));
    }
  }
  if (first_position == 0 && !input.backbone_last_hidden_state.empty()) {
    if (std::ssize(input.backbone_last_hidden_state) != width) {
      Fail<ArgumentError>("backbone_last_hidden_state has {} values; backbone_hidden_size is {}",
                          input.backbone_last_hidden_state.size(), width);
    }
    std::copy(input.backbone_last_hidden_state.begin(), input.backbone_last_hidden_state.end(),
              result.begin());
  }
  return result;
}

int64_t CachedPositions(const StackInput& input) {
  return input.past_key_values == nullptr ? 0 : input.past_key_values->get_seq_length();
}

// A frame has num_codebooks positions, and their meaning hangs on their number.
void CheckDepthRow(const CsmDepthDecoderConfig& config, const StackInput& input) {
  if (input.codes != nullptr) {
    Fail<ArgumentError>("the depth decoder reads one code per position: give input_ids, not codes");
  }
  if (!input.position_ids.empty()) {
    Fail<ArgumentError>(
        "the depth decoder numbers its positions itself (0 is the backbone's state, p the code of "
        "codebook p - 1): give no position_ids");
  }
  const int64_t end = CachedPositions(input) + model::NumPositions(input);
  if (end > config.num_codebooks) {
    Fail<ArgumentError>("a frame has {} depth decoder positions and this row would reach {}",
                        config.num_codebooks, end);
  }
}

}  // namespace

std::shared_ptr<const CsmDepthDecoderModel::Impl> CsmDepthDecoderModel::Impl::Load(
    const std::filesystem::path& dir, const LoadOptions& options) {
  const auto checkpoint = checkpoint::OpenCsmCheckpoint(dir, options.adapter);
  const Runtime runtime = RuntimeOf(options);
  checkpoint::WeightLoader loader(checkpoint.tensors, options.dtype, &runtime.impl()->pool,
                                  checkpoint::PrecisionOf(checkpoint, options));
  return std::make_shared<Impl>(checkpoint, loader, runtime);
}

CsmDepthDecoderModel CsmDepthDecoderModel::from_pretrained(const std::filesystem::path& dir,
                                                           const LoadOptions& options) {
  return CsmDepthDecoderModel(Impl::Load(dir, options));
}

const CsmDepthDecoderConfig& CsmDepthDecoderModel::config() const { return impl_->config; }

std::vector<StackOutput> CsmDepthDecoderModel::forward(std::span<const StackInput> batch,
                                                       const ForwardOptions& options) const {
  for (const StackInput& input : batch) CheckDepthRow(impl_->config, input);
  model::Scratch scratch;
  return model::CallStack(
      impl_->stack, impl_->config.backbone_hidden_size, batch, options, impl_->runtime.impl()->pool,
      [&](const StackInput& input, float* out) {
        const auto embeddings = EmbedDepthRow(*impl_, input, CachedPositions(input));
        impl_->Project(embeddings.data(), model::NumPositions(input), scratch, out);
      });
}

CsmDepthDecoderForCausalLM CsmDepthDecoderForCausalLM::from_pretrained(
    const std::filesystem::path& dir, const LoadOptions& options) {
  return CsmDepthDecoderForCausalLM(
      std::make_shared<Impl>(Impl{CsmDepthDecoderModel::Impl::Load(dir, options)}));
}

const CsmDepthDecoderConfig& CsmDepthDecoderForCausalLM::config() const {
  return impl_->model->config;
}

CsmDepthDecoderModel CsmDepthDecoderForCausalLM::model() const {
  return CsmDepthDecoderModel(impl_->model);
}

std::vector<StackOutput> CsmDepthDecoderForCausalLM::forward(std::span<const StackInput> batch,
                                                             const ForwardOptions& options) const {
  const CsmDepthDecoderModel::Impl& depth = *impl_->model;
  std::vector<int64_t> first_positions;
  for (const StackInput& input : batch) first_positions.push_back(CachedPositions(input));
  std::vector<StackOutput> outputs = model().forward(batch, options);
  for (size_t s = 0; s < outputs.size(); ++s) {
    const Matrix& hidden = outputs[s].last_hidden_state;
    int64_t first = model::FirstLogitPosition(hidden.rows, options);
    if (first_positions[s] == 0) first = std::max<int64_t>(first, 1);  // position 0 has no head
    Matrix& logits = outputs[s].logits;
    logits = Matrix(std::max<int64_t>(0, hidden.rows - first), depth.config.vocab_size);
    for (int64_t i = 0; i < logits.rows; ++i) {
      depth.Logits(first_positions[s] + first + i, hidden.row(first + i).data(), 1, hidden.cols,
                   logits.row(i).data());
    }
  }
  return outputs;
}

}  // namespace csm

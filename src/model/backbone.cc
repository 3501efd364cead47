#include "model/backbone.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/matmul.h"
#include "model/stack_call.h"

namespace csm {

CsmBackboneModel::Impl::Impl(const checkpoint::CsmCheckpoint& checkpoint,
                             checkpoint::WeightLoader& loader, Runtime with_runtime)
    : config(checkpoint.config),
      embeddings(checkpoint, loader),
      lm_head(model::LoadLinear(loader, "lm_head", config.vocab_size, config.hidden_size)),
      stack(config, "backbone_model.", loader),
      runtime(std::move(with_runtime)),
      memory(loader.memory()) {}

void CsmBackboneModel::Impl::Logits(std::span<const float> hidden, int64_t num_rows,
                                    float* logits) const {
  const auto width = static_cast<size_t>(config.hidden_size);
  std::vector<float> scratch;  // stays empty without an adapter
  const model::LinearOutput output[] = {{lm_head, logits}};
  model::Multiply({hidden.data(), static_cast<size_t>(num_rows), width}, output, scratch,
                  runtime.impl()->pool);
}

namespace model {

void CheckCodes(const Codes& codes, int64_t num_codebooks, int64_t vocab_size) {
  if (codes.num_codebooks != num_codebooks) {
    Fail<ArgumentError>("the codes have {} codebooks; the model's num_codebooks is {}",
                        codes.num_codebooks, num_codebooks);
  }
  if (std::ssize(codes.data) % num_codebooks != 0) {
    Fail<ArgumentError>("there are {} codes, which is no whole number of frames of {} codebooks",
                        codes.data.size(), num_codebooks);
  }
  for (int t = 0; t < codes.num_frames(); ++t) {
    for (int k = 0; k < codes.num_codebooks; ++k) {
      const int32_t code = codes.frame(t)[static_cast<size_t>(k)];
      if (code >= 0 && code < vocab_size) continue;
      Fail<ArgumentError>("frame {}, codebook {} holds code {}; the model's codes are 0 to {}", t,
                          k, code, vocab_size - 1);
    }
  }
}

}  // namespace model

CsmBackboneModel CsmBackboneModel::from_pretrained(const std::filesystem::path& dir,
                                                   const LoadOptions& options) {
  const auto checkpoint = checkpoint::OpenCsmCheckpoint(dir, options.adapter);
  const Runtime runtime = RuntimeOf(options);
  checkpoint::WeightLoader loader(checkpoint.tensors, options.dtype, &runtime.impl()->pool,
                                  checkpoint::PrecisionOf(checkpoint, options));
  return CsmBackboneModel(std::make_shared<Impl>(checkpoint, loader, runtime));
}

const CsmConfig& CsmBackboneModel::config() const { return impl_->config; }

Matrix CsmBackboneModel::embed_tokens(const Codes& codes) const {
  model::CheckCodes(codes, impl_->config.num_codebooks, impl_->config.vocab_size);
  Matrix result(codes.num_frames(), impl_->config.hidden_size);
  for (int t = 0; t < codes.num_frames(); ++t) {
    impl_->embeddings.EmbedFrame(codes.frame(t), result.row(t).data());
  }
  return result;
}

std::vector<StackOutput> CsmBackboneModel::forward(std::span<const StackInput> batch,
                                                   const ForwardOptions& options) const {
  return model::CallStack(
      impl_->stack, impl_->config.hidden_size, batch, options, impl_->runtime.impl()->pool,
      [&](const StackInput& input, float* out) {
        const int64_t width = impl_->config.hidden_size;
        if (input.inputs_embeds != nullptr) {
          std::copy(input.inputs_embeds->data.begin(), input.inputs_embeds->data.end(), out);
        } else if (input.codes != nullptr) {
          model::CheckCodes(*input.codes, impl_->config.num_codebooks, impl_->config.vocab_size);
          for (int t = 0; t < input.codes->num_frames(); ++t, out += width) {
            impl_->embeddings.EmbedFrame(input.codes->frame(t), out);
          }
        } else {
          for (const int32_t id : input.input_ids) {
            impl_->embeddings.EmbedText(id, out);
            out += width;
          }
        }
      });
}

}  // namespace csm

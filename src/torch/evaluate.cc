#include "torch/evaluate.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "checkpoint/model_dir.h"
#include "torch/parameters.h"
#include "torch/samples.h"

namespace csm::train {
namespace {

EvalResult Compute(const std::filesystem::path& path, std::span<const Conversation> conversations,
                   const EvalOptions& options) {
  const checkpoint::CsmCheckpoint checkpoint = checkpoint::OpenCsmCheckpoint(path);
  const Runtime runtime(options.num_threads);
  at::set_num_threads(runtime.num_threads());
  const std::vector<Sample> samples = MakeSamples(
      conversations, CsmProcessor::from_pretrained(checkpoint.dir),
      MimiModel::from_pretrained(checkpoint.dir, {.runtime = runtime}), checkpoint.config, options);
  const Batch batch = MakeBatch(samples, checkpoint.config);
  CsmForConditionalGeneration model = LoadModel(checkpoint);
  const torch::AutoGradMode grad_mode(options.grad_norms);
  const LossSums sums = model(batch);
  EvalResult result{.backbone_loss = sums.BackboneLoss().item<double>(),
                    .depth_decoder_loss = sums.DepthDecoderLoss().item<double>()};
  if (!options.grad_norms) return result;
  (sums.BackboneLoss() + sums.DepthDecoderLoss()).backward();
  for (const auto& item : model->named_parameters()) {
    if (item.value().grad().defined()) {
      result.grad_norms[item.key()] = item.value().grad().norm().item<double>();
    }
  }
  return result;
}

}  // namespace

EvalResult Evaluate(const std::filesystem::path& path, std::span<const Conversation> conversations,
                    const EvalOptions& options) {
  try {
    return Compute(path, conversations, options);
  } catch (const c10::Error& error) {
    Fail<Error>("LibTorch: {}", error.what_without_backtrace());
  }
}

}  // namespace csm::train

#include "torch/evaluate.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "checkpoint/model_dir.h"
#include "torch/dataset_files.h"
#include "torch/device.h"
#include "torch/parameters.h"
#include "torch/samples.h"
#include "torch/totals.h"

namespace csm::train {
namespace {

constexpr size_t kRowsAtOnce = 8;

// One at a time, so that no more than one conversation's audio is in memory.
std::vector<Sample> Samples(const std::filesystem::path& data,
                            const checkpoint::CsmCheckpoint& checkpoint, const Runtime& runtime,
                            const EvalOptions& options) {
  const auto processor = CsmProcessor::from_pretrained(checkpoint.dir);
  const auto codec = MimiModel::from_pretrained(checkpoint.dir, {.runtime = runtime});
  std::vector<Sample> samples;
  for (const auto& [conversation, place] : ReadDatasetFiles(data)) {
    try {
      samples.push_back(MakeSample(conversation, processor, codec, checkpoint.config, options));
    } catch (const ArgumentError& error) {
      Fail<ArgumentError>("{}: {}", place, error.what());
    }
  }
  if (samples.empty()) Fail<FormatError>("{} holds no conversation", data.string());
  return samples;
}

EvalResult Compute(const std::filesystem::path& path, const std::filesystem::path& data,
                   const EvalOptions& options) {
  const checkpoint::CsmCheckpoint checkpoint = checkpoint::OpenCsmCheckpoint(path, options.adapter);
  const torch::Device device = FindDevice(options.device);
  const Runtime runtime(options.num_threads);
  SetUpCpu(runtime.num_threads());
  const std::vector<Sample> samples = Samples(data, checkpoint, runtime, options);
  NumTargets targets;
  for (const Sample& sample : samples) targets.Add(CountTargets(sample));
  CsmForConditionalGeneration model = LoadModel(checkpoint);
  model->to(device);
  const torch::AutoGradMode grad_mode(options.grad_norms);
  Totals totals;
  for (size_t first = 0; first < samples.size(); first += kRowsAtOnce) {
    const auto part =
        std::span(samples).subspan(first, std::min(kRowsAtOnce, samples.size() - first));
    const LossSums sums = model(MakeBatch(part, checkpoint.config).To(device));
    totals.Add(sums);
    if (!options.grad_norms) continue;
    ShareOfLoss(sums, targets, checkpoint.config).backward();
  }
  EvalResult result{.backbone_loss = totals.BackboneLoss(),
                    .depth_decoder_loss = totals.DepthDecoderLoss()};
  for (const auto& item : model->named_parameters()) {
    if (item.value().grad().defined()) {
      result.grad_norms[item.key()] = item.value().grad().norm().item<double>();
    }
  }
  return result;
}

}  // namespace

EvalResult Evaluate(const std::filesystem::path& path, const std::filesystem::path& data,
                    const EvalOptions& options) {
  try {
    return Compute(path, data, options);
  } catch (const c10::Error& error) {
    Fail<Error>("LibTorch: {}", error.what_without_backtrace());
  }
}

}  // namespace csm::train

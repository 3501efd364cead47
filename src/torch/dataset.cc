#include "torch/dataset.h"

#include "base/error.h"
#include "torch/dataset_files.h"
#include "torch/samples.h"

namespace csm::train {

std::vector<Sample> LoadDataset(const std::filesystem::path& file, const CsmProcessor& processor,
                                const MimiModel& codec, const CsmConfig& config, TrainOn train_on,
                                const CodeCache& cache, const DatasetCallbacks& callbacks) {
  const std::vector<Conversation> conversations = ReadDatasetFiles(file);
  std::vector<Sample> samples;
  for (size_t i = 0; i < conversations.size(); ++i) {
    if (callbacks.is_cancelled && callbacks.is_cancelled()) throw Cancelled();
    try {
      const Conversation encoded = cache.WithCodes(conversations[i]);
      Sample sample = std::move(
          MakeSamples({&encoded, 1}, processor, codec, config, {.train_on = train_on})[0]);
      CheckSample(sample, config);
      samples.push_back(std::move(sample));
    } catch (const Error& error) {
      if (callbacks.on_skip) {
        callbacks.on_skip(fmt::format("conversation {} left out: {}", i, error.what()));
      }
    }
    if (callbacks.on_encode) {
      callbacks.on_encode(static_cast<int64_t>(i + 1), std::ssize(conversations));
    }
  }
  if (samples.empty()) {
    Fail<ArgumentError>("{} holds no conversation to learn from, of {}", file.string(),
                        conversations.size());
  }
  return samples;
}

}  // namespace csm::train

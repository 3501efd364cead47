#include "torch/dataset.h"

#include <exception>

#include "base/atomic_file.h"
#include "base/error.h"
#include "text/conversation.h"
#include "torch/samples.h"

namespace csm::train {
namespace {

std::vector<Conversation> ReadLines(const std::filesystem::path& file) {
  const std::string text = ReadFile(file);
  std::vector<Conversation> conversations;
  size_t number = 0;
  for (size_t first = 0; first < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', first), text.size());
    const std::string_view line = std::string_view(text).substr(first, end - first);
    first = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      auto parsed = text::ParseConversations(line, file);
      std::move(parsed.conversations.begin(), parsed.conversations.end(),
                std::back_inserter(conversations));
    } catch (const Error& error) {
      Fail<FormatError>("line {}: {}", number + 1, error.what());
    }
  }
  return conversations;
}

}  // namespace

std::vector<Sample> LoadDataset(const std::filesystem::path& file, const CsmProcessor& processor,
                                const MimiModel& codec, const CsmConfig& config, TrainOn train_on,
                                const DatasetCallbacks& callbacks) {
  const std::vector<Conversation> conversations =
      file.extension() == ".jsonl" ? ReadLines(file) : load_conversations(file);
  std::vector<Sample> samples;
  for (size_t i = 0; i < conversations.size(); ++i) {
    if (callbacks.is_cancelled && callbacks.is_cancelled()) throw Cancelled();
    try {
      Sample sample = std::move(
          MakeSamples({&conversations[i], 1}, processor, codec, config, {.train_on = train_on})[0]);
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

#include "torch/samples.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "engine/prompt.h"
#include "text/labels.h"

namespace csm::train {
namespace {

bool HasAudio(const Message& message) {
  return std::any_of(message.content.begin(), message.content.end(),
                     [](const auto& item) { return std::holds_alternative<Audio>(item); });
}

// "" for a single conversation, else which of a batch.
std::string Which(size_t index, size_t count) {
  return count == 1 ? "the conversation" : fmt::format("conversation {}", index);
}

void CheckHasAudio(std::span<const Conversation> conversations, TrainOn train_on) {
  for (size_t i = 0; i < conversations.size(); ++i) {
    const Conversation& turns = conversations[i];
    if (!std::any_of(turns.begin(), turns.end(), HasAudio)) {
      Fail<ArgumentError>("{} has no audio; only audio can be learnt",
                          Which(i, conversations.size()));
    }
    if (train_on == TrainOn::kLast && !HasAudio(turns.back())) {
      Fail<ArgumentError>("the last turn of {} has no audio, and only the last is to be learnt",
                          Which(i, conversations.size()));
    }
  }
}

// The audio of the last turn is what comes after the end of the audio before it.
void KeepLastTurn(const CsmInputs::Row& row, const CsmConfig& config,
                  std::vector<int32_t>& labels) {
  const auto& ids = row.input_ids;
  const auto end = static_cast<int32_t>(config.audio_eos_token_id);
  const auto last = std::find(ids.rbegin(), ids.rend(), end);
  const auto before = std::find(last == ids.rend() ? last : last + 1, ids.rend(), end);
  std::fill_n(labels.begin(), ids.rend() - before, text::kIgnore);
}

}  // namespace

std::vector<Sample> MakeSamples(std::span<const Conversation> conversations,
                                const CsmProcessor& processor, const MimiModel& codec,
                                const CsmConfig& config, const EvalOptions& options) {
  CheckHasAudio(conversations, options.train_on);
  const CsmInputs inputs = processor.apply_chat_template(
      conversations, {.parse_special = options.parse_special, .output_labels = true});
  std::vector<Sample> samples;
  for (const CsmInputs::Row& row : inputs.rows) {
    Sample sample{row.input_ids, row.labels, engine::EncodeClips(row, codec, config)};
    if (options.train_on == TrainOn::kLast) KeepLastTurn(row, config, sample.labels);
    samples.push_back(std::move(sample));
  }
  return samples;
}

}  // namespace csm::train

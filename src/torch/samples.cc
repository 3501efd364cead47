#include "torch/samples.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "engine/prompt.h"

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

// Marks the turns that are not learnt.
std::vector<Conversation> Marked(std::span<const Conversation> conversations, TrainOn train_on) {
  std::vector<Conversation> marked(conversations.begin(), conversations.end());
  if (train_on == TrainOn::kAll) return marked;
  for (Conversation& turns : marked) {
    for (Message& message : turns) message.train = message.train && &message == &turns.back();
  }
  return marked;
}

void CheckLearnsSomething(std::span<const Conversation> conversations, TrainOn train_on) {
  for (size_t i = 0; i < conversations.size(); ++i) {
    const Conversation& turns = conversations[i];
    const std::string which = Which(i, conversations.size());
    if (std::none_of(turns.begin(), turns.end(), HasAudio)) {
      Fail<ArgumentError>("{} has no audio; only audio can be learnt", which);
    }
    const auto is_learnt = [](const Message& m) { return m.train && HasAudio(m); };
    if (std::any_of(turns.begin(), turns.end(), is_learnt)) continue;
    if (train_on == TrainOn::kLast) {
      Fail<ArgumentError>("the last turn of {} has no audio to learn, and only the last is learnt",
                          which);
    }
    Fail<ArgumentError>("{} has no audio to learn: \"train\" is false where there is audio", which);
  }
}

}  // namespace

std::vector<Sample> MakeSamples(std::span<const Conversation> conversations,
                                const CsmProcessor& processor, const MimiModel& codec,
                                const CsmConfig& config, const EvalOptions& options) {
  const std::vector<Conversation> marked = Marked(conversations, options.train_on);
  CheckLearnsSomething(marked, options.train_on);
  const CsmInputs inputs = processor.apply_chat_template(
      marked, {.parse_special = options.parse_special, .output_labels = true});
  std::vector<Sample> samples;
  for (const CsmInputs::Row& row : inputs.rows) {
    samples.push_back({row.input_ids, row.labels, engine::EncodeClips(row, codec, config)});
  }
  return samples;
}

}  // namespace csm::train

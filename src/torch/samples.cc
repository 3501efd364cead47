#include "torch/samples.h"

#include <algorithm>

#include "base/error.h"
#include "engine/prompt.h"

namespace csm::train {
namespace {

bool HasAudio(const Message& message) {
  return std::any_of(message.content.begin(), message.content.end(),
                     [](const auto& item) { return std::holds_alternative<Audio>(item); });
}

// Marks the turns that are not learnt.
Conversation Marked(Conversation turns, TrainOn train_on) {
  if (train_on == TrainOn::kAll) return turns;
  for (Message& message : turns) message.train = message.train && &message == &turns.back();
  return turns;
}

void CheckLearnsSomething(const Conversation& turns, TrainOn train_on) {
  if (std::none_of(turns.begin(), turns.end(), HasAudio)) {
    Fail<ArgumentError>("the conversation has no audio; only audio can be learnt");
  }
  const auto is_learnt = [](const Message& m) { return m.train && HasAudio(m); };
  if (std::any_of(turns.begin(), turns.end(), is_learnt)) return;
  if (train_on == TrainOn::kLast) {
    Fail<ArgumentError>(
        "the last turn of the conversation has no audio to learn, and only the last is learnt");
  }
  Fail<ArgumentError>(
      "the conversation has no audio to learn: \"train\" is false where there is audio");
}

}  // namespace

Sample MakeSample(const Conversation& conversation, const CsmProcessor& processor,
                  const MimiModel& codec, const CsmConfig& config, const EvalOptions& options) {
  const Conversation marked = Marked(conversation, options.train_on);
  CheckLearnsSomething(marked, options.train_on);
  const CsmInputs inputs = processor.apply_chat_template(
      marked, {.parse_special = options.parse_special, .output_labels = true});
  const CsmInputs::Row& row = inputs.rows[0];
  return {row.input_ids, row.labels, engine::EncodeClips(row, codec, config)};
}

}  // namespace csm::train

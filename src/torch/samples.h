// From a conversation to a sample: tokens, labels and the codec's codes.
#ifndef CSM_TORCH_SAMPLES_H_
#define CSM_TORCH_SAMPLES_H_

#include "csm/csm.hpp"
#include "torch/batch.h"
#include "torch/evaluate.h"

namespace csm::train {

/// The conversation's sample, labelled as HF's output_labels=True does, less what `train_on` and
/// Message::train leave out. Audio that is not codes goes through the codec. Throws ArgumentError
/// for a conversation without audio to learn.
Sample MakeSample(const Conversation& conversation, const CsmProcessor& processor,
                  const MimiModel& codec, const CsmConfig& config, const EvalOptions& options);

}  // namespace csm::train

#endif  // CSM_TORCH_SAMPLES_H_

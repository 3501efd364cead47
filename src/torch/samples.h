// From conversations to samples: tokens, labels and the codec's codes.
#ifndef CSM_TORCH_SAMPLES_H_
#define CSM_TORCH_SAMPLES_H_

#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "torch/batch.h"
#include "torch/evaluate.h"

namespace csm::train {

/// The conversations' samples, labelled as HF's output_labels=True does, less what `train_on`
/// leaves out. Audio that is not codes goes through the codec. Throws ArgumentError naming a
/// conversation without audio to learn.
std::vector<Sample> MakeSamples(std::span<const Conversation> conversations,
                                const CsmProcessor& processor, const MimiModel& codec,
                                const CsmConfig& config, const EvalOptions& options);

}  // namespace csm::train

#endif  // CSM_TORCH_SAMPLES_H_

// From labelled rows to the tensors that training computes on.
#ifndef CSM_TORCH_BATCH_H_
#define CSM_TORCH_BATCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "torch/modules.h"

namespace csm::train {

/// A conversation ready for training.
struct Sample {
  std::vector<int32_t> input_ids;  ///< one audio_token_id a frame of audio
  std::vector<int32_t> labels;  ///< like input_ids: the id, or text::kIgnore, text::kBackboneOnly
  Codes frames;                 ///< of all its turns
};

/// How much there is to learn: codes 0, and frames whose other codes are learnt.
struct NumTargets {
  int64_t codes0 = 0, depth_frames = 0;

  void Add(const NumTargets& more) {
    codes0 += more.codes0;
    depth_frames += more.depth_frames;
  }
};
NumTargets CountTargets(const Sample& sample);

/// What the sums of one batch add to the mean loss of all targets, whatever these are cut into.
/// `guided_attention`: weight of the sums' attention, if they have any.
torch::Tensor ShareOfLoss(const LossSums& sums, const NumTargets& all, const CsmConfig& config,
                          double guided_attention = 0);

/// Throws ArgumentError for a sample that does not fit the model.
void CheckSample(const Sample& sample, const CsmConfig& config);

/// HF's rules: code 0 of a labelled position is predicted from the position before (a row's first
/// is never a target), the other codes, unless kBackboneOnly, from the backbone's state there (for
/// a row's first position, as HF indexes, the last). Throws ArgumentError if there is nothing to
/// learn for one of the two.
Batch MakeBatch(std::span<const Sample> samples, const CsmConfig& config);

/// Replaces `share` of the frames that the model hears, never those that it learns, by frames from
/// elsewhere in the batch, and single codes of a third as many by any code. Ends of audio stay.
/// Draws from torch's generator.
void AddCodeNoise(double share, const CsmConfig& config, Batch& batch);

}  // namespace csm::train

#endif  // CSM_TORCH_BATCH_H_

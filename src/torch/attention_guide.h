// Guided attention, for training from nothing: some heads are told to look at the text that is
// being spoken, so that a model learns in hundreds of steps, not thousands, that speech follows its
// text. After Tachibana et al. 2017, "Efficiently trainable text-to-speech system based on deep
// convolutional networks with guided attention".
#ifndef CSM_TORCH_ATTENTION_GUIDE_H_
#define CSM_TORCH_ATTENTION_GUIDE_H_

#include <torch/torch.h>

#include <cstdint>
#include <span>

#include "torch/batch.h"

namespace csm::train {

/// Where attention should be, in a batch of rows padded to `length`: [rows, length, length]. From a
/// position that predicts a frame of a turn, a bell around the place in the turn's text that is as
/// far along as the frame is in its speech; 0 elsewhere.
torch::Tensor MakeAttentionGuide(std::span<const Sample> samples, const CsmConfig& config,
                                 int64_t length);

/// The loss of the guided heads of one pass: the first head of the layers from the second to the
/// middle.
class AttentionGuide {
 public:
  AttentionGuide(torch::Tensor wanted, int64_t num_layers);

  bool IsGuided(int64_t layer) const { return layer >= 1 && layer <= num_guided_; }
  /// query, key: [rows, length, head_dim], of one head.
  void Add(const torch::Tensor& query, const torch::Tensor& key);
  /// Minus the logarithm of the share of attention where it should be: the sum over positions of
  /// the mean over heads.
  torch::Tensor Loss() const { return sum_ / static_cast<double>(num_guided_); }

 private:
  torch::Tensor wanted_, is_guided_, future_;
  torch::Tensor sum_;
  int64_t num_guided_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_ATTENTION_GUIDE_H_

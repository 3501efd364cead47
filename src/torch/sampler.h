// Which conversations make up a step: shuffled, of like lengths, and a function of the seed and the
// step alone, so that training resumes where it was.
#ifndef CSM_TORCH_SAMPLER_H_
#define CSM_TORCH_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "torch/batch.h"
#include "torch/train_options.h"

namespace csm::train {

/// Batches of sample numbers for one epoch: every sample once; lengths in a batch are alike, and
/// the order of the batches is drawn anew for each (seed, epoch).
std::vector<std::vector<size_t>> EpochBatches(std::span<const size_t> lengths, size_t batch_size,
                                              uint64_t seed, uint64_t epoch);

/// Of the labelled audio frames of a batch, int(n * (1 - ratio)) become text::kBackboneOnly, drawn
/// by (seed, step); the ends of audio keep their labels, as with transformers.
void DrawDepthLabels(std::span<Sample> samples, const CsmConfig& config, double ratio,
                     uint64_t seed, uint64_t step);

/// What one process computes in one step of the optimiser.
struct StepShare {
  /// Its rows of each batch that gradients are accumulated over; none of a batch that is too small.
  std::vector<std::vector<Sample>> batches;
  NumTargets targets;  ///< of the whole step, all processes together
};

/// Steps through the samples, epoch after epoch. A batch holds per_device_train_batch_size rows for
/// each process; what is in it does not depend on how many processes share it.
class StepSampler {
 public:
  /// `rank` of `size` processes.
  StepSampler(std::vector<Sample> samples, const CsmConfig& config, const TrainOptions& options,
              int rank, int size);

  int64_t steps_per_epoch() const { return steps_per_epoch_; }
  int64_t num_steps() const { return num_steps_; }
  int64_t batch_size() const { return static_cast<int64_t>(batch_size_); }
  std::span<const Sample> samples() const { return samples_; }
  StepShare Step(int64_t step);

 private:
  void BeginEpoch(int64_t epoch);

  std::vector<Sample> samples_;
  const CsmConfig& config_;
  const TrainOptions& options_;
  size_t rank_, size_, batch_size_;
  int64_t steps_per_epoch_ = 0, num_steps_ = 0;
  int64_t epoch_ = -1;
  std::vector<std::vector<size_t>> batches_;  // of that epoch
};

}  // namespace csm::train

#endif  // CSM_TORCH_SAMPLER_H_

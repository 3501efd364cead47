// Which conversations make up a step: shuffled, of like lengths, and a function of the seed and the
// step alone, so that training resumes where it was.
#ifndef CSM_TORCH_SAMPLER_H_
#define CSM_TORCH_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "torch/batch.h"

namespace csm::train {

/// Batches of sample numbers for one epoch: every sample once; lengths in a batch are alike, and
/// the order of the batches is drawn anew for each (seed, epoch).
std::vector<std::vector<size_t>> EpochBatches(std::span<const size_t> lengths, size_t batch_size,
                                              uint64_t seed, uint64_t epoch);

/// Of the labelled audio frames of a batch, int(n * (1 - ratio)) become text::kBackboneOnly, drawn
/// by (seed, step); the ends of audio keep their labels, as with transformers.
void DrawDepthLabels(std::span<Sample> samples, const CsmConfig& config, double ratio,
                     uint64_t seed, uint64_t step);

}  // namespace csm::train

#endif  // CSM_TORCH_SAMPLER_H_

// HF's training losses, computed forward only.
#ifndef CSM_ENGINE_LOSSES_H_
#define CSM_ENGINE_LOSSES_H_

#include <optional>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "model/depth_decoder.h"

namespace csm::engine {

/// One row for the losses.
struct LossRow {
  const CsmInputs::Row& row;
  const Codes& frames;   ///< of the row's clips
  const Matrix& hidden;  ///< [positions, hidden_size], the backbone's last hidden states
  const Matrix& logits;  ///< [positions, vocab_size], codebook 0
};

struct Losses {
  double backbone = 0;
  double depth_decoder = 0;
};

/// Backbone: cross-entropy of codebook 0 at position t against the logits at t - 1, mean over all
/// labelled positions of the batch (the first position of a row is never a target). Depth decoder:
/// mean over the codebooks 1.. of every labelled frame not marked -101, from the backbone's state
/// at t - 1 (for t = 0, as HF indexes, the row's last). A label of -100 on audio is respected,
/// where HF trains on it all the same. Throws ArgumentError if there is nothing to learn.
Losses ComputeLosses(std::span<const LossRow> rows, const CsmConfig& config,
                     const CsmDepthDecoderModel::Impl& depth_decoder);

}  // namespace csm::engine

#endif  // CSM_ENGINE_LOSSES_H_

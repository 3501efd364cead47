// Weights made up on the spot, for measuring speed at any geometry without a file.
#ifndef CSM_CHECKPOINT_SYNTHETIC_TENSORS_H_
#define CSM_CHECKPOINT_SYNTHETIC_TENSORS_H_

#include <memory>

#include "checkpoint/model_dir.h"

namespace csm::checkpoint {

/// A checkpoint of this config whose matrices are random bf16 numbers of magnitude 1/64 to 1/32 and
/// whose vectors are 1. A tensor is made when it is first asked for; one that is released is gone.
CsmCheckpoint MakeSyntheticCheckpoint(const CsmConfig& config);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_SYNTHETIC_TENSORS_H_

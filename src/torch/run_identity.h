// What a checkpoint of a run keeps, so that it is resumed as what it was.
#ifndef CSM_TORCH_RUN_IDENTITY_H_
#define CSM_TORCH_RUN_IDENTITY_H_

#include "base/json.h"
#include "checkpoint/model_dir.h"
#include "torch/sampler.h"
#include "torch/train_options.h"

namespace csm::train {

/// The options by name, and "data" (a hash of the samples), "total_train_batch_size" (of all
/// processes) and, of an adapter's run, "base" (a hash of the model that it is for).
Json RunIdentity(const TrainOptions& options, const StepSampler& sampler,
                 const checkpoint::CsmCheckpoint& base);

}  // namespace csm::train

#endif  // CSM_TORCH_RUN_IDENTITY_H_

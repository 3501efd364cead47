// Parameters of the modules from a checkpoint's tensors, and back.
#ifndef CSM_TORCH_PARAMETERS_H_
#define CSM_TORCH_PARAMETERS_H_

#include <torch/torch.h>

#include "checkpoint/model_dir.h"
#include "torch/modules.h"

namespace csm::train {

/// A model with the checkpoint's weights, all converted to `dtype`, on `device`. Throws
/// ArgumentError for a GGUF file, whose weights are not for training.
CsmForConditionalGeneration LoadModel(const checkpoint::CsmCheckpoint& checkpoint,
                                      torch::ScalarType dtype = torch::kFloat32,
                                      torch::Device device = torch::kCPU);

}  // namespace csm::train

#endif  // CSM_TORCH_PARAMETERS_H_

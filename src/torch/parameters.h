// Parameters of the modules from a checkpoint's tensors.
#ifndef CSM_TORCH_PARAMETERS_H_
#define CSM_TORCH_PARAMETERS_H_

#include <torch/torch.h>

#include <string>

#include "checkpoint/model_dir.h"
#include "torch/modules.h"

namespace csm::train {

/// The stored tensor that holds a parameter: tied code embeddings go by either name.
std::string StoredName(const checkpoint::CsmCheckpoint& checkpoint, const std::string& parameter);

/// A model with the checkpoint's weights, all converted to `dtype`. Throws ArgumentError for a GGUF
/// file, whose weights are not for training.
CsmForConditionalGeneration LoadModel(const checkpoint::CsmCheckpoint& checkpoint,
                                      torch::ScalarType dtype = torch::kFloat32);

/// The same for speaking, of any checkpoint: a GGUF file's weights are taken out of their blocks.
CsmForConditionalGeneration LoadForSpeaking(const checkpoint::CsmCheckpoint& checkpoint,
                                            torch::ScalarType dtype);

/// Copies tensor `name` of `store` into an f32 tensor of the same shape. Throws FormatError if
/// there is none that fits.
void CopyStored(const checkpoint::TensorStore& store, const std::string& name,
                const torch::Tensor& to);

/// Parameters whose names the regular expression matches stop learning; "": none. Throws
/// ArgumentError if it matches none, or all that learn.
void Freeze(CsmForConditionalGeneration& model, const std::string& pattern);

/// Whether all that learns is finite.
bool IsFinite(const CsmForConditionalGeneration& model);

}  // namespace csm::train

#endif  // CSM_TORCH_PARAMETERS_H_

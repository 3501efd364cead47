// Low-rank adapters (LoRA) on the modules' linear layers.
#ifndef CSM_TORCH_LORA_H_
#define CSM_TORCH_LORA_H_

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "checkpoint/adapter.h"
#include "torch/modules.h"
#include "torch/train_options.h"

namespace csm::train {

/// Adds a term to each targeted layer, A as peft draws it (by `seed`), B zero; all other parameters
/// stop learning. Throws ArgumentError if a target names no layer.
void AddAdapter(CsmForConditionalGeneration& model, const TrainOptions& options);

/// The terms as they are now, by the names of the matrices that they are added to.
std::map<std::string, checkpoint::LowRank, std::less<>> AdapterTerms(
    CsmForConditionalGeneration& model, const TrainOptions& options);

/// Writes the terms as a folder that peft loads.
void SaveAdapter(CsmForConditionalGeneration& model, const TrainOptions& options,
                 const std::string& base_model, const std::filesystem::path& dir);

/// Reads back every term that SaveAdapter wrote. Throws FileError, FormatError.
void LoadAdapter(const std::filesystem::path& dir, CsmForConditionalGeneration& model);

}  // namespace csm::train

#endif  // CSM_TORCH_LORA_H_

#include "torch/run_model.h"

#include "checkpoint/adapter.h"
#include "checkpoint/model_dir.h"
#include "text/utf8.h"
#include "torch/lora.h"
#include "torch/parameters.h"
#include "torch/training_state.h"

namespace csm::train {

RunModel::RunModel(const std::filesystem::path& given,
                   const std::optional<std::filesystem::path>& checkpoint,
                   const TrainOptions& options, const torch::Device& device)
    : options_(options),
      folder_(given),
      given_(checkpoint::OpenCsmCheckpoint(given)),
      origin_(checkpoint && !options.has_adapter() ? checkpoint::OpenCsmCheckpoint(*checkpoint)
                                                   : given_),
      processor_(CsmProcessor::from_pretrained(given_.dir)) {
  origin_.dir = given_.dir;  // a checkpoint of the run may be removed while it goes on
  module_ = LoadModel(origin_, is_half() ? torch::kBFloat16 : torch::kFloat32);
  if (options_.has_adapter()) AddAdapter(module_, options_);
  if (options_.has_adapter() && checkpoint) LoadAdapter(*checkpoint, module_);
  if (options_.gradient_checkpointing) module_->UseGradientCheckpointing();
  Freeze(module_, options_.freeze);
  module_->to(device);
}

DType RunModel::given_type() const { return given_.tensors->FindShape("lm_head.weight")->dtype; }

void RunModel::Write(const std::filesystem::path& dir, std::optional<DType> dtype) {
  if (options_.has_adapter()) {
    SaveAdapter(module_, options_, text::ReplaceInvalidUtf8(folder_.string()), dir);
  } else {
    SaveModel(origin_, processor_, module_, dtype, dir);
  }
}

void RunModel::WriteEarlier(const std::filesystem::path& checkpoint,
                            const std::filesystem::path& dir, DType dtype) const {
  if (options_.has_adapter()) return checkpoint::CopyAdapter(checkpoint, dir);
  checkpoint::CsmCheckpoint model = checkpoint::OpenCsmCheckpoint(checkpoint);
  model.dir = given_.dir;
  checkpoint::SaveCsmCheckpoint(model, dir, dtype);
  processor_.save_pretrained(dir);
}

checkpoint::CsmCheckpoint RunModel::Now() {
  if (!options_.has_adapter()) return TrainedCheckpoint(origin_, module_);
  return checkpoint::WithAdapter(given_, {.dir = {}, .terms = AdapterTerms(module_, options_)});
}

}  // namespace csm::train

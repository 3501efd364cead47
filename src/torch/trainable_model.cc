#include <utility>
#include <vector>

#include "base/error.h"
#include "checkpoint/model_dir.h"
#include "csm/train.hpp"
#include "engine/prompt.h"
#include "torch/batch.h"
#include "torch/modules.h"
#include "torch/parameters.h"
#include "torch/training_state.h"

namespace csm::train {

struct TrainableModel::Impl {
  checkpoint::CsmCheckpoint checkpoint;
  CsmProcessor processor;
  MimiModel codec;
  CsmForConditionalGeneration model;
};

TrainableModel TrainableModel::from_pretrained(const std::filesystem::path& dir,
                                               torch::ScalarType dtype) {
  checkpoint::CsmCheckpoint checkpoint = checkpoint::OpenCsmCheckpoint(dir);
  CsmForConditionalGeneration model = LoadModel(checkpoint, dtype);
  const std::filesystem::path folder = checkpoint.dir;
  return TrainableModel(
      std::make_shared<Impl>(Impl{std::move(checkpoint), CsmProcessor::from_pretrained(folder),
                                  MimiModel::from_pretrained(folder), std::move(model)}));
}

Losses TrainableModel::operator()(const CsmInputs& inputs) const {
  const CsmConfig& config = impl_->checkpoint.config;
  std::vector<Sample> samples;
  for (const CsmInputs::Row& row : inputs.rows) {
    if (row.labels.empty()) {
      Fail<ArgumentError>("the inputs have no labels: make them with output_labels = true");
    }
    samples.push_back({row.input_ids, row.labels, engine::EncodeClips(row, impl_->codec, config)});
  }
  const LossSums sums = impl_->model(MakeBatch(samples, config));
  const torch::Tensor backbone = sums.BackboneLoss(), depth_decoder = sums.DepthDecoderLoss();
  return {backbone + depth_decoder, backbone, depth_decoder};
}

torch::nn::Module& TrainableModel::module() const { return *impl_->model; }

void TrainableModel::save_pretrained(const std::filesystem::path& dir,
                                     std::optional<DType> dtype) const {
  SaveModel(impl_->checkpoint, impl_->processor, impl_->model, dtype, dir);
}

}  // namespace csm::train

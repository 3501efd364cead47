// Training a CSM from a program of one's own, with LibTorch: HF's
//
//   model = CsmForConditionalGeneration.from_pretrained(dir); model.train()
//   model(**processor.apply_chat_template(conversation, output_labels=True)).loss.backward()
//
// is
//
//   auto model = csm::train::TrainableModel::from_pretrained(dir);
//   model(processor.apply_chat_template(conversation, {.output_labels = true})).loss.backward();
//
// The library csm_train, which a build with CSM_TORCH has, holds this and all of csm.hpp.
#ifndef CSM_TRAIN_HPP_
#define CSM_TRAIN_HPP_

#include <torch/torch.h>

#include <csm/csm.hpp>
#include <filesystem>
#include <memory>
#include <optional>

namespace csm::train {

/// Scalars. `loss` is the sum of the others: the mean cross-entropy of codes 0, and that of all
/// other codes of the frames whose label is not -101.
struct Losses {
  torch::Tensor loss, backbone_loss, depth_decoder_loss;
};

/// A checkpoint whose weights are parameters. A copy shares them.
class CSM_EXPORT TrainableModel {
 public:
  /// In f32, or another type, on the CPU. Throws FileError, FormatError; ArgumentError for a GGUF
  /// file.
  static TrainableModel from_pretrained(const std::filesystem::path& dir,
                                        torch::ScalarType dtype = torch::kFloat32);

  /// The losses of rows with labels (CsmProcessor::Options::output_labels), as HF computes them.
  /// Audio goes through the codec, which does not learn. Throws ArgumentError if there is nothing
  /// to learn.
  Losses operator()(const CsmInputs& inputs) const;

  /// For parameters(), named_parameters() (HF's names), train(), eval(), zero_grad().
  torch::nn::Module& module() const;

  /// Writes a checkpoint that transformers and CsmForConditionalGeneration load, with matrices in
  /// `dtype`, none: f32. Throws FileError.
  void save_pretrained(const std::filesystem::path& dir, std::optional<DType> dtype = {}) const;

  struct Impl;
  explicit TrainableModel(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace csm::train

#endif  // CSM_TRAIN_HPP_

// What a run trains: all of a model's parameters, or an adapter on them.
#ifndef CSM_TORCH_RUN_MODEL_H_
#define CSM_TORCH_RUN_MODEL_H_

#include <torch/torch.h>

#include <filesystem>
#include <optional>

#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"
#include "torch/modules.h"
#include "torch/train_options.h"

namespace csm::train {

/// Not thread-safe.
class RunModel {
 public:
  /// Of the model folder `given`, or as it is in `checkpoint`, a folder of the run. Throws
  /// FileError, FormatError, ArgumentError.
  RunModel(const std::filesystem::path& given,
           const std::optional<std::filesystem::path>& checkpoint, const TrainOptions& options,
           const torch::Device& device);

  CsmForConditionalGeneration& module() { return module_; }
  const CsmConfig& config() const { return origin_.config; }
  const CsmProcessor& processor() const { return processor_; }
  const checkpoint::CsmCheckpoint& given() const { return given_; }
  /// The checkpoint that the parameters were read from.
  const checkpoint::CsmCheckpoint& origin() const { return origin_; }
  /// Whether weights are in bf16: what does not learn may as well be.
  bool is_half() const { return options_.has_adapter() && options_.bf16; }
  DType given_type() const;  ///< of most weights

  /// Writes a folder: the model, in f32 unless told otherwise, or the adapter. Throws FileError.
  void Write(const std::filesystem::path& dir, std::optional<DType> dtype);
  /// The same, as it was in `checkpoint`, a folder of the run.
  void WriteEarlier(const std::filesystem::path& checkpoint, const std::filesystem::path& dir,
                    DType dtype) const;
  /// As it is now, for the engine.
  checkpoint::CsmCheckpoint Now();

 private:
  TrainOptions options_;
  std::filesystem::path folder_;
  checkpoint::CsmCheckpoint given_, origin_;
  CsmProcessor processor_;
  CsmForConditionalGeneration module_{nullptr};
};

}  // namespace csm::train

#endif  // CSM_TORCH_RUN_MODEL_H_

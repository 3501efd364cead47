// A model's stacks on a device of LibTorch's: what libcsm_train.so adds to the engine.
#ifndef CSM_TORCH_DEVICE_MODEL_H_
#define CSM_TORCH_DEVICE_MODEL_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/model_dir.h"
#include "engine/device_model.h"
#include "torch/frame_program.h"
#include "torch/mimi_decoder.h"

namespace csm::train {

class TorchDeviceModel final : public engine::DeviceModel {
 public:
  /// `options.device`: "cuda", "cuda:N" or "torch-cpu". Weights that are stored quantized
  /// become bf16. Throws ArgumentError or Error for a device that is not there, ArgumentError for a
  /// dtype that is quantized.
  TorchDeviceModel(const checkpoint::CsmCheckpoint& checkpoint, const LoadOptions& options);

  std::unique_ptr<engine::FrameStepper> NewStepper(const Call& call) const override;
  std::unique_ptr<engine::FrameDecoder> NewDecoder(int64_t num_sequences) const override;
  std::string Name() const override;
  DType dtype() const override { return dtype_; }
  double MeasureReadBandwidth() const override;
  double MeasureMulAddRate() const override;

 private:
  std::unique_ptr<FrameProgram> Take(const BatchShape& shape,
                                     const std::optional<CodeChoice>& choice) const;
  std::unique_ptr<MimiProgram> TakeCodec(int64_t rows) const;
  /// Makes a program; if memory is full, again without those that wait.
  template <typename Make>
  auto MakeProgram(const Make& make) const;

  DType dtype_;
  CsmForConditionalGeneration model_{nullptr};
  mutable std::mutex mutex_;  // of the two lists
  // Of both, the last to be given back comes last.
  mutable std::vector<std::unique_ptr<FrameProgram>> idle_;
  mutable std::vector<std::unique_ptr<MimiProgram>> idle_codecs_;
  std::shared_ptr<const CodebookTables> codebooks_;
  mutable std::mutex codec_mutex_;
  mutable std::unique_ptr<CodecWeights> codec_weights_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_DEVICE_MODEL_H_

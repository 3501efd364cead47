// The engine's steps on a device.
#ifndef CSM_TORCH_DEVICE_STEPPER_H_
#define CSM_TORCH_DEVICE_STEPPER_H_

#include <functional>
#include <memory>
#include <span>

#include "engine/device_model.h"
#include "torch/frame_program.h"

namespace csm::train {

/// A program of its own for as long as it lives; `give_back` gets it at the end.
class DeviceStepper final : public engine::FrameStepper {
 public:
  using GiveBack = std::function<void(std::unique_ptr<FrameProgram>)>;
  /// A program without a choice of its own: the processor chooses each code, since the caller wants
  /// to see logits.
  DeviceStepper(std::unique_ptr<FrameProgram> program, GiveBack give_back);
  ~DeviceStepper() override;

  void Prefill(std::span<engine::Sequence* const> sequences, std::span<const Matrix* const> prompts,
               const model::HiddenObserver& observer) override;
  void Fork(const engine::Sequence& from, engine::Sequence& to) override;
  void NextFrame(std::span<engine::Sequence* const> sequences,
                 const engine::StepOptions& options) override;
  void Advance(std::span<engine::Sequence* const> sequences) override;

 private:
  void ChooseOnDevice(std::span<engine::Sequence* const> sequences,
                      const engine::StepOptions& options);
  void ChooseOnHost(std::span<engine::Sequence* const> sequences,
                    const engine::StepOptions& options);
  bool host_chooses() const { return !program_->choice(); }
  const CsmConfig& config() const { return program_->batch().config(); }

  std::unique_ptr<FrameProgram> program_;
  GiveBack give_back_;
  int64_t num_rows_ = 0;       // taken
  torch::Tensor host_frames_;  // chosen by the host, on the device
};

}  // namespace csm::train

#endif  // CSM_TORCH_DEVICE_STEPPER_H_

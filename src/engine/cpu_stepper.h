// Frames by this library's own kernels.
#ifndef CSM_ENGINE_CPU_STEPPER_H_
#define CSM_ENGINE_CPU_STEPPER_H_

#include <span>
#include <vector>

#include "engine/depth_loop.h"
#include "engine/frame_stepper.h"
#include "model/backbone.h"

namespace csm::engine {

class CpuStepper final : public FrameStepper {
 public:
  CpuStepper(const CsmBackboneModel::Impl& backbone, const CsmDepthDecoderModel::Impl& depth)
      : backbone_(backbone), depth_loop_(depth) {}

  void Prefill(std::span<Sequence* const> sequences, std::span<const Matrix* const> prompts,
               const model::HiddenObserver& observer) override;
  void Fork(const Sequence& from, Sequence& to) override;
  void NextFrame(std::span<Sequence* const> sequences, const StepOptions& options) override;
  void Advance(std::span<Sequence* const> sequences) override;

 private:
  void RunBackbone(std::span<Sequence* const> sequences,
                   const model::HiddenObserver& observer = nullptr);

  const CsmBackboneModel::Impl& backbone_;
  DepthLoop depth_loop_;
  std::vector<model::Segment> segments_;
  std::vector<DepthTask> tasks_;
  std::vector<float> hidden_, logits_;
  model::Scratch scratch_;
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_CPU_STEPPER_H_

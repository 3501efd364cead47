// The engine's decoder of frames on a device.
#ifndef CSM_TORCH_DEVICE_DECODER_H_
#define CSM_TORCH_DEVICE_DECODER_H_

#include <functional>
#include <memory>
#include <span>

#include "engine/frame_decoder.h"
#include "torch/mimi_decoder.h"

namespace csm::train {

/// A sequence's index is its row. `give_back` gets the program at the end.
class DeviceDecoder final : public engine::FrameDecoder {
 public:
  using GiveBack = std::function<void(std::unique_ptr<MimiProgram>)>;
  DeviceDecoder(std::unique_ptr<MimiProgram> program, GiveBack give_back);
  ~DeviceDecoder() override;

  void Decode(std::span<const Frames> sequences, const Sink& sink) override;
  int64_t MostFrames() const override { return 1; }           // a recording's shape does not change
  void End(const engine::Sequence& /*sequence*/) override {}  // its row computes along

 private:
  void Step(std::span<const Frames> sequences);

  std::unique_ptr<MimiProgram> program_;
  GiveBack give_back_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_DEVICE_DECODER_H_

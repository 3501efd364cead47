// One frame of a batch as one piece of device work: code 0, the depth decoder's steps, every choice
// of a code, and the backbone's step. What goes in and comes out lies at fixed addresses.
#ifndef CSM_TORCH_FRAME_PROGRAM_H_
#define CSM_TORCH_FRAME_PROGRAM_H_

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "torch/device_batch.h"
#include "torch/recorder.h"

namespace csm::train {

/// How the codes of a frame are chosen.
struct CodeChoice {
  SamplingConfig backbone, depth_decoder;
  bool operator==(const CodeChoice&) const = default;
};

/// Recorded when it is made, unless the host chooses codes. Not thread-safe.
class FrameProgram {
 public:
  /// `choice`; none: the host's, by way of batch().
  FrameProgram(const CsmForConditionalGeneration& model, const BatchShape& shape,
               const std::optional<CodeChoice>& choice);

  /// [rows, num_codebooks] of f64 in host memory: what ChooseCodes draws with, to be written before
  /// each frame.
  torch::Tensor& uniforms() { return host_uniforms_; }
  /// Chooses the next frame of every row.
  void NextFrame();
  /// That frame: [rows, num_codebooks] of int64 in host memory; and whether all its logits were
  /// sound: [rows].
  const torch::Tensor& frames() const { return host_frames_; }
  const torch::Tensor& is_sound() const { return host_is_sound_; }
  /// Feeds that frame back.
  void Advance() { recorder_->PlaySecond(); }

  DeviceBatch& batch() { return batch_; }
  const DeviceBatch& batch() const { return batch_; }
  /// For work with the batch other than the above.
  void Run(const Work& work) { recorder_->Run(work); }
  const std::optional<CodeChoice>& choice() const { return choice_; }

 private:
  void ChooseFrame();

  std::optional<CodeChoice> choice_;
  DeviceBatch batch_;
  torch::Tensor uniforms_, frames_, is_sound_;  // on the device
  torch::Tensor host_uniforms_, host_frames_, host_is_sound_;
  std::unique_ptr<Recorder> recorder_;  // goes first, when its work with the others is done
};

/// Logits of codes that the codec cannot decode become -inf, in place: as the engine's
/// MaskUndecodable, for [rows, vocab_size].
void MaskUndecodable(const CsmConfig& config, const torch::Tensor& logits);

}  // namespace csm::train

#endif  // CSM_TORCH_FRAME_PROGRAM_H_

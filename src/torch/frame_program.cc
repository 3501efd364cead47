#include "torch/frame_program.h"

#include <algorithm>
#include <limits>

#include "torch/choose_codes.h"

namespace csm::train {

void MaskUndecodable(const CsmConfig& config, const torch::Tensor& logits) {
  const int64_t first = std::min(config.codec_config.codebook_size, logits.size(-1));
  logits.narrow(-1, first, logits.size(-1) - first).fill_(-std::numeric_limits<float>::infinity());
}

FrameProgram::FrameProgram(const CsmForConditionalGeneration& model, const BatchShape& shape,
                           const std::optional<CodeChoice>& choice)
    : choice_(choice), batch_(model, shape), recorder_(NewRecorder(batch_.options().device())) {
  const int64_t num_codebooks = batch_.config().num_codebooks;
  host_uniforms_ = recorder_->HostTensor({shape.rows, num_codebooks}, torch::kFloat64);
  host_frames_ = recorder_->HostTensor({shape.rows, num_codebooks}, torch::kInt64);
  host_is_sound_ = recorder_->HostTensor({shape.rows}, torch::kBool);
  const torch::Device device = batch_.options().device();
  uniforms_ = host_uniforms_.clone().to(device);
  frames_ = host_frames_.clone().to(device);
  is_sound_ = host_is_sound_.clone().to(device);
  if (!choice_) return;
  recorder_->Record([this] { ChooseFrame(); }, [this] { batch_.Advance(frames_); });
}

void FrameProgram::ChooseFrame() {
  recorder_->Copy(host_uniforms_, uniforms_);
  is_sound_.fill_(true);
  frames_.copy_(batch_.NextFrame([&](int64_t codebook, const torch::Tensor& logits) {
    MaskUndecodable(batch_.config(), logits);
    is_sound_.logical_and_(IsSound(logits));
    const SamplingConfig& sampling = codebook == 0 ? choice_->backbone : choice_->depth_decoder;
    return ChooseCodes(sampling, logits, uniforms_.select(1, codebook));
  }));
  recorder_->Copy(frames_, host_frames_);
  recorder_->Copy(is_sound_, host_is_sound_);
}

void FrameProgram::NextFrame() {
  recorder_->PlayFirst();
  recorder_->WaitForFirst();
}

}  // namespace csm::train

#include "torch/device_decoder.h"

#include <utility>

#include "torch/plain_errors.h"

namespace csm::train {

DeviceDecoder::DeviceDecoder(std::unique_ptr<MimiProgram> program, GiveBack give_back)
    : program_(std::move(program)), give_back_(std::move(give_back)) {}

DeviceDecoder::~DeviceDecoder() { give_back_(std::move(program_)); }

void DeviceDecoder::Decode(std::span<const Frames> sequences, const Sink& sink) {
  if (sequences.empty()) return;
  WithPlainErrors([&] { Step(sequences); });
  const torch::Tensor& samples = program_->samples();
  const int64_t frame_size = samples.size(1);
  for (const Frames& frames : sequences) {
    const int64_t row = frames.sequence->index;
    sink(*frames.sequence,
         {samples.const_data_ptr<float>() + row * frame_size, static_cast<size_t>(frame_size)});
  }
}

void DeviceDecoder::Step(std::span<const Frames> sequences) {
  const c10::InferenceMode guard;
  auto codes = program_->codes().accessor<int64_t, 2>();
  auto is_new = program_->is_new().accessor<bool, 1>();
  for (const Frames& frames : sequences) {
    const int64_t row = frames.sequence->index;
    const std::span<const int32_t> frame = frames.codes();
    for (size_t k = 0; k < frame.size(); ++k) codes[row][static_cast<int64_t>(k)] = frame[k];
    is_new[row] = frames.first == 0;
  }
  program_->Step();
}

}  // namespace csm::train

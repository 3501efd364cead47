#include "torch/device_stepper.h"

#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "torch/plain_errors.h"

namespace csm::train {

using engine::Sequence;
using engine::StepOptions;

DeviceStepper::DeviceStepper(std::unique_ptr<FrameProgram> program, GiveBack give_back)
    : program_(std::move(program)), give_back_(std::move(give_back)) {
  const c10::InferenceMode guard;
  program_->Run([this] { program_->batch().Clear(); });
}

DeviceStepper::~DeviceStepper() { give_back_(std::move(program_)); }

void DeviceStepper::Prefill(std::span<Sequence* const> sequences,
                            std::span<const Matrix* const> prompts,
                            const model::HiddenObserver& observer) {
  const c10::InferenceMode guard;
  const auto start = Clock::now();
  std::vector<KvCache::Impl*> past;
  for (Sequence* sequence : sequences) past.push_back(&sequence->cache.impl());
  WithPlainErrors(
      [&] { program_->Run([&] { program_->batch().Prefill(num_rows_, prompts, past); }); });
  int64_t first_position = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    sequences[s]->device_row = num_rows_++;
    if (observer) observer(config().num_hidden_layers, first_position, prompts[s]->data);
    first_position += prompts[s]->rows;
  }
  times_.prefill += SecondsSince(start);
}

void DeviceStepper::Fork(const Sequence& from, Sequence& to) {
  const c10::InferenceMode guard;
  to.device_row = num_rows_++;
  program_->Run([&] { program_->batch().CopyRow(from.device_row, to.device_row); });
}

void DeviceStepper::NextFrame(std::span<Sequence* const> sequences, const StepOptions& options) {
  const c10::InferenceMode guard;
  const auto start = Clock::now();
  for (Sequence* sequence : sequences) engine::AppendFrame(*sequence);
  WithPlainErrors([&] {
    if (host_chooses()) {
      ChooseOnHost(sequences, options);
    } else {
      ChooseOnDevice(sequences, options);
    }
  });
  for (Sequence* sequence : sequences) engine::FinishIfLast(*sequence, config());
  times_.depth_decoder += SecondsSince(start);
}

void DeviceStepper::ChooseOnDevice(std::span<Sequence* const> sequences,
                                   const StepOptions& options) {
  const int64_t num_codebooks = config().num_codebooks;
  auto numbers = program_->uniforms().accessor<double, 2>();
  for (const Sequence* sequence : sequences) {
    for (int64_t k = 0; k < num_codebooks; ++k) {
      numbers[sequence->device_row][k] = engine::UniformFor(*sequence, k, options);
    }
  }
  program_->NextFrame();
  const auto frames = program_->frames().accessor<int64_t, 2>();
  const auto is_sound = program_->is_sound().accessor<bool, 1>();
  for (Sequence* sequence : sequences) {
    if (!is_sound[sequence->device_row]) {
      Fail<Error>(
          "the model computed a logit that is no number; its weights or its input are not "
          "sound");
    }
    const auto row = frames[sequence->device_row];
    const std::span<int32_t> frame = engine::LastFrame(*sequence);
    for (int64_t k = 0; k < num_codebooks; ++k) {
      frame[static_cast<size_t>(k)] = static_cast<int32_t>(row[k]);
    }
  }
}

void DeviceStepper::ChooseOnHost(std::span<Sequence* const> sequences, const StepOptions& options) {
  DeviceBatch& batch = program_->batch();
  const auto choose = [&](int64_t codebook, const torch::Tensor& on_device) {
    const torch::Tensor logits = on_device.cpu().contiguous();
    torch::Tensor codes = torch::zeros({logits.size(0)}, torch::kInt64);
    const c10::InferenceMode as_the_caller(false);  // whose logits_processor may use LibTorch too
    for (Sequence* sequence : sequences) {
      const std::span<float> row(logits.data_ptr<float>() + sequence->device_row * logits.size(1),
                                 static_cast<size_t>(logits.size(1)));
      const int32_t code = codebook == 0
                               ? engine::ChooseCode0(*sequence, row, config(), options)
                               : engine::ChooseFor(*sequence, codebook, row, config(), options);
      engine::LastFrame(*sequence)[static_cast<size_t>(codebook)] = code;
      codes.data_ptr<int64_t>()[sequence->device_row] = code;
    }
    return codes.to(batch.options().device());
  };
  program_->Run([&] { host_frames_ = batch.NextFrame(choose); });
}

void DeviceStepper::Advance(std::span<Sequence* const> /*sequences*/) {
  const c10::InferenceMode guard;
  const auto start = Clock::now();
  WithPlainErrors([&] {
    if (host_chooses()) {
      program_->Run([&] { program_->batch().Advance(host_frames_); });
    } else {
      program_->Advance();
    }
  });
  times_.backbone += SecondsSince(start);
}

}  // namespace csm::train

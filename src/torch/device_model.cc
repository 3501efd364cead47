#include "torch/device_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/runtime.h"
#include "kernels/packed.h"
#include "torch/device.h"
#include "torch/device_decoder.h"
#include "torch/device_stepper.h"
#include "torch/parameters.h"
#include "torch/plain_errors.h"
#include "torch/recorder.h"

namespace csm::train {
namespace {

constexpr size_t kMostIdle = 4;          // programs, each with a cache
constexpr int64_t kLeastCapacity = 128;  // positions; capacities are powers of two from here on

torch::Device DeviceOf(const LoadOptions& options) {
  if (options.device.starts_with("cuda")) {
    const torch::Device device = FindDevice(options.device);
    // Of the codec's convolutions, which torch lets round to TF32 unless told otherwise.
    at::globalContext().setAllowTF32CuDNN(false);
    // cuDNN's attention plans each length anew, and the depth decoder has one a codebook.
    at::globalContext().setSDPUseCuDNN(false);
    return device;
  }
  if (options.device != "torch-cpu") {
    Fail<ArgumentError>("device is '{}'; there are cpu, cuda, cuda:N, torch-cpu", options.device);
  }
  SetUpCpu(RuntimeOf(options).num_threads());
  return torch::kCPU;
}

DType TypeOf(const checkpoint::CsmCheckpoint& checkpoint, const LoadOptions& options) {
  const DType stored = checkpoint.tensors->Find("lm_head.weight")->dtype;
  if (options.dtype && kernels::IsQuantized(*options.dtype)) {
    Fail<ArgumentError>(
        "device {}: quantized weights are for the processor alone; there are f32, f16 and bf16",
        options.device);
  }
  return options.dtype.value_or(kernels::IsQuantized(stored) ? DType::kBF16 : stored);
}

torch::ScalarType Counterpart(DType dtype) {
  if (dtype == DType::kF32) return torch::kFloat32;
  return dtype == DType::kF16 ? torch::kHalf : torch::kBFloat16;
}

// Of how codes are chosen: greedy is greedy, whatever else is set.
SamplingConfig WhatMatters(const SamplingConfig& config) {
  return config.do_sample ? config : SamplingConfig();
}

template <typename Program, typename Fits>
std::unique_ptr<Program> TakeIdle(std::mutex& mutex, std::vector<std::unique_ptr<Program>>& idle,
                                  const Fits& fits) {
  const std::lock_guard lock(mutex);
  const auto found =
      std::find_if(idle.rbegin(), idle.rend(), [&](const auto& program) { return fits(*program); });
  if (found == idle.rend()) return nullptr;
  std::unique_ptr<Program> program = std::move(*found);
  idle.erase(std::next(found).base());
  return program;
}

template <typename Program>
void Keep(std::unique_ptr<Program> program, std::mutex& mutex,
          std::vector<std::unique_ptr<Program>>& idle) {
  std::unique_ptr<Program> oldest;  // goes when others may go on
  const std::lock_guard lock(mutex);
  idle.push_back(std::move(program));
  if (idle.size() <= kMostIdle) return;
  oldest = std::move(idle.front());
  idle.erase(idle.begin());
}

// Seconds of work that ends with a value for the processor: the best of several times, since the
// first loads code and others may be disturbed.
double TimeBest(const std::function<torch::Tensor()>& work) {
  double best = 0;
  for (int i = 0; i < 8; ++i) {
    const auto start = Clock::now();
    work().flatten()[0].item();
    const double seconds = SecondsSince(start);
    if (i == 0 || seconds < best) best = seconds;
  }
  return best;
}

}  // namespace

TorchDeviceModel::TorchDeviceModel(const checkpoint::CsmCheckpoint& checkpoint,
                                   const LoadOptions& options)
    : dtype_(TypeOf(checkpoint, options)) {
  const torch::Device device = DeviceOf(options);
  model_ = LoadForSpeaking(checkpoint, Counterpart(dtype_));
  model_->to(device);
  model_->eval();
  const c10::InferenceMode guard;
  codec_weights_ = std::make_unique<CodecWeights>(checkpoint::CodecOf(checkpoint), device);
  codebooks_ =
      std::make_shared<const CodebookTables>(*codec_weights_, checkpoint.config.num_codebooks);
}

std::unique_ptr<engine::FrameStepper> TorchDeviceModel::NewStepper(const Call& call) const {
  const CsmConfig& config = model_->config();
  // Few shapes, so that what was made for one call serves the next.
  const int64_t capacity = std::min(PowerOfTwo(call.num_positions, kLeastCapacity),
                                    std::max(config.max_position_embeddings, call.num_positions));
  const BatchShape shape{PowerOfTwo(call.num_sequences, 1), capacity};
  const bool host_chooses =
      call.callbacks.logits_processor || call.config.output_logits || call.config.output_scores;
  std::optional<CodeChoice> choice;
  if (!host_chooses) {
    choice = {WhatMatters(call.config), WhatMatters(call.config.depth_decoder)};
  }
  return WithPlainErrors([&] {
    return std::make_unique<DeviceStepper>(
        Take(shape, choice),
        [this](std::unique_ptr<FrameProgram> program) { Keep(std::move(program), mutex_, idle_); });
  });
}

std::unique_ptr<engine::FrameDecoder> TorchDeviceModel::NewDecoder(int64_t num_sequences) const {
  return WithPlainErrors([&] {
    return std::make_unique<DeviceDecoder>(TakeCodec(PowerOfTwo(num_sequences, 1)),
                                           [this](std::unique_ptr<MimiProgram> program) {
                                             Keep(std::move(program), mutex_, idle_codecs_);
                                           });
  });
}

std::string TorchDeviceModel::Name() const {
  const torch::Device device = OptionsOf(model_).device();
  if (device.is_cpu()) return "LibTorch " TORCH_VERSION " on the processor";
  return CudaDeviceName(device.index());
}

double TorchDeviceModel::MeasureReadBandwidth() const {
  const c10::InferenceMode guard;
  // Far more than any cache: 1 GiB, on the processor a quarter of it.
  const int64_t count = (int64_t{1} << 28) / (OptionsOf(model_).device().is_cpu() ? 4 : 1);
  const torch::Tensor values = torch::ones({count}, OptionsOf(model_).dtype(torch::kFloat32));
  return static_cast<double>(values.nbytes()) / TimeBest([&] { return values.sum(); });
}

double TorchDeviceModel::MeasureMulAddRate() const {
  const c10::InferenceMode guard;
  const int64_t size = OptionsOf(model_).device().is_cpu() ? 1024 : 8192;
  const torch::Tensor a = torch::ones({size, size}, OptionsOf(model_));
  return std::pow(static_cast<double>(size), 3) / TimeBest([&] { return torch::mm(a, a); });
}

template <typename Make>
auto TorchDeviceModel::MakeProgram(const Make& make) const {
  const c10::InferenceMode guard;
  try {
    return make();
  } catch (const c10::OutOfMemoryError&) {
    const std::lock_guard lock(mutex_);
    idle_.clear();
    idle_codecs_.clear();
  }
  return make();
}

std::unique_ptr<FrameProgram> TorchDeviceModel::Take(
    const BatchShape& shape, const std::optional<CodeChoice>& choice) const {
  auto program = TakeIdle(mutex_, idle_, [&](const FrameProgram& idle) {
    return idle.batch().shape() == shape && idle.choice() == choice;
  });
  if (program) return program;
  return MakeProgram([&] { return std::make_unique<FrameProgram>(model_, shape, choice); });
}

std::unique_ptr<MimiProgram> TorchDeviceModel::TakeCodec(int64_t rows) const {
  auto program =
      TakeIdle(mutex_, idle_codecs_, [&](const MimiProgram& idle) { return idle.rows() == rows; });
  if (program == nullptr) {
    const std::lock_guard lock(codec_mutex_);
    program = MakeProgram(
        [&] { return std::make_unique<MimiProgram>(*codec_weights_, codebooks_, rows); });
  }
  const c10::InferenceMode guard;
  program->Clear();
  return program;
}

}  // namespace csm::train

/// See engine/device_model.h. The layouts of what is passed are those of one build.
extern "C" CSM_EXPORT const csm::engine::DeviceModel* csm_load_device_model(
    const csm::engine::BuildStamp& stamp, const csm::checkpoint::CsmCheckpoint& checkpoint,
    const csm::LoadOptions& options) {
  if (stamp != csm::engine::BuildStamp(CSM_VERSION)) {
    csm::Fail<csm::Error>(
        "device {}: libcsm_train.so is of another csm than this, {}; build both anew",
        options.device, stamp.version);
  }
  return csm::train::WithPlainErrors(
      [&] { return new csm::train::TorchDeviceModel(checkpoint, options); });
}

#include "torch/recorder.h"

#include <array>

#include "torch/cuda_library.h"

namespace csm::train {
namespace {

/// Remembers what was to be done.
class CpuRecorder final : public Recorder {
 public:
  torch::Tensor HostTensor(torch::IntArrayRef sizes, torch::ScalarType type) override {
    return torch::zeros(sizes, type);
  }
  void Copy(const torch::Tensor& from, const torch::Tensor& to) override { to.copy_(from); }
  void Run(const Work& work) override { work(); }
  void Record(const Work& first, const Work& second) override { first_ = first, second_ = second; }
  void PlayFirst() override { first_(); }
  void WaitForFirst() override {}
  void PlaySecond() override { second_(); }

 private:
  Work first_, second_;
};

}  // namespace

std::unique_ptr<Recorder> NewRecorder(const torch::Device& device) {
  if (device.is_cpu()) return std::make_unique<CpuRecorder>();
  const auto create = FindInCudaLibrary<NewCudaRecorderFunction>(kNewCudaRecorderName);
  return std::unique_ptr<Recorder>(create(device.index()));
}

std::string CudaDeviceName(int device_index) {
  std::array<char, 256> name{};
  FindInCudaLibrary<CudaDeviceNameFunction>(kCudaDeviceNameName)(device_index, name.data(),
                                                                 name.size());
  return name.data();
}

}  // namespace csm::train

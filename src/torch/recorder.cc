#include "torch/recorder.h"

#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <system_error>

#include "base/error.h"

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

// A library of its own: what it needs of CUDA is not there on most machines.
template <typename Function>
Function* FindInCudaLibrary(const char* name) {
  constexpr const char* kLibrary = "libcsm_cuda.so";
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&NewRecorder), &info);
  const auto folder = std::filesystem::path(info.dli_fname).parent_path();
  auto file = folder / kLibrary;
  std::error_code error;  // a test program stands in bin/
  if (!std::filesystem::exists(file, error)) file = folder / "../lib" / kLibrary;
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) Fail<Error>("device cuda: {} cannot be loaded: {}", kLibrary, dlerror());
  void* function = dlsym(library, name);
  if (function == nullptr) Fail<Error>("device cuda: {} is of another csm", file.string());
  return reinterpret_cast<Function*>(function);
}

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

#include "torch/device.h"

#include <dlfcn.h>

#include "base/error.h"

namespace csm::train {
namespace {

torch::Device ParseDevice(const std::string& name) {
  try {
    const torch::Device device(name);
    if (device.is_cpu() || device.is_cuda()) return device;
  } catch (const c10::Error&) {
  }
  Fail<ArgumentError>("device is '{}'; there are cpu, cuda, cuda:N", name);
}

}  // namespace

torch::Device FindDevice(const std::string& name) {
  const torch::Device device = ParseDevice(name);
  if (device.is_cpu()) return device;
  // Not linked: then no build would run without the CUDA libraries, 3 GB of them.
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    Fail<Error>("device {}: this LibTorch cannot use CUDA ({})", name, dlerror());
  }
  if (!torch::cuda::is_available()) {
    Fail<Error>("device {}: there is no CUDA device, or no driver for it", name);
  }
  if (device.has_index() && device.index() >= torch::cuda::device_count()) {
    Fail<Error>("device {}: there are not so many CUDA devices, counted from 0", name);
  }
  return device.has_index() ? device : torch::Device(torch::kCUDA, 0);
}

}  // namespace csm::train

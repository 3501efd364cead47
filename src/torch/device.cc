#include "torch/device.h"

#include <dlfcn.h>

#include "base/error.h"
#include "base/library_folder.h"

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
  const auto library =
      LibraryFolder(reinterpret_cast<const void*>(&at::globalContext)) / "libtorch_cuda.so";
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    Fail<Error>(
        "device {}: this LibTorch cannot use CUDA ({}); pip install torch brings what it "
        "needs",
        name, dlerror());
  }
  if (!torch::cuda::is_available()) {
    Fail<Error>("device {}: there is no CUDA device, or no driver for it", name);
  }
  if (device.has_index() && (device.index() < 0 || device.index() >= torch::cuda::device_count())) {
    Fail<Error>("device {}: there are not so many CUDA devices, counted from 0", name);
  }
  return device.has_index() ? device : torch::Device(torch::kCUDA, 0);
}

void SetUpCpu(int num_threads) {
  at::set_num_threads(num_threads);
#if defined(__x86_64__)
  // MKL, the default, keeps to AVX2 on AMD's processors; oneDNN has AVX-512: 2.4 times as fast on a
  // Zen 5 (113 GFLOP/s to 46, 800 x 256 by 256 x 768, one busy core). LibTorch gives it f32
  // products only where bf16 would do, but these processors have no AMX, without which oneDNN stays
  // in f32 (largest error 5e-5, MKL's 3e-5; bf16's would be 1e-1).
  if (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx512f")) {
    at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                            at::Float32Precision::BF16);
  }
#endif
}

}  // namespace csm::train

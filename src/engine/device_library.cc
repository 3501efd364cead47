// Finds libcsm_train.so. It is no part of libcsm.so or csm, which would then need LibTorch's 1 GB
// to start.
#include <dlfcn.h>

#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "engine/device_model.h"

namespace csm::engine {
namespace {

constexpr const char* kLibrary = "libcsm_train.so";

/// Of the program or library that holds this function.
std::filesystem::path OwnFolder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&LoadDeviceModel), &info) == 0) return {};
  std::error_code error;
  std::filesystem::path file = std::filesystem::canonical(info.dli_fname, error);
  if (error) file = std::filesystem::read_symlink("/proc/self/exe", error);
  return file.parent_path();
}

LoadDeviceModelFunction* FindFunction(const std::string& device) {
  std::vector<std::string> places;
  for (const char* folder :
       {".", "../lib", "../lib/x86_64-linux-gnu", "../lib/aarch64-linux-gnu"}) {
    const auto file = (OwnFolder() / folder / kLibrary).lexically_normal();
    std::error_code error;
    if (!std::filesystem::exists(file, error)) continue;
    // Never closed: LibTorch does not survive that.
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
      Fail<Error>("device {}: {} cannot be loaded: {}", device, file.string(), dlerror());
    void* function = dlsym(library, kLoadDeviceModelName);
    if (function == nullptr) Fail<Error>("device {}: {} is of another csm", device, file.string());
    return reinterpret_cast<LoadDeviceModelFunction*>(function);
  }
  Fail<Error>(
      "device {}: this build has no {}: run scripts/setup --torch, then cmake --preset "
      "release-torch && cmake --build --preset release-torch, and take "
      "build/release-torch/bin/csm",
      device, kLibrary);
}

}  // namespace

std::shared_ptr<const DeviceModel> LoadDeviceModel(const checkpoint::CsmCheckpoint& checkpoint,
                                                   const LoadOptions& options) {
  LoadDeviceModelFunction* const load = FindFunction(options.device);
  return std::shared_ptr<const DeviceModel>(load(CSM_VERSION, checkpoint, options));
}

}  // namespace csm::engine

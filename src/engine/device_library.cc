// Finds libcsm_train.so. It is no part of libcsm.so or csm, which would then need LibTorch's 1 GB
// to start.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/library_folder.h"
#include "engine/device_model.h"

namespace csm::engine {
namespace {

constexpr const char* kLibrary = "libcsm_train.so";

/// Of LibTorch's libraries in a LibTorch folder, or in a Python environment with torch. Empty:
/// none.
std::filesystem::path LibrariesIn(const std::filesystem::path& dir) {
  std::error_code error;
  for (const char* folder : {"lib", "torch/lib"}) {
    if (std::filesystem::exists(dir / folder / "libtorch_cpu.so", error)) return dir / folder;
  }
  for (const auto& entry : std::filesystem::directory_iterator(dir / "lib", error)) {
    for (const char* packages : {"site-packages", "dist-packages"}) {
      auto folder = entry.path() / packages / "torch/lib";
      if (std::filesystem::exists(folder / "libtorch_cpu.so", error)) return folder;
    }
  }
  return {};
}

/// By the environment's CSM_TORCH_DIR. Empty: not set.
std::filesystem::path NamedTorch() {
  const char* dir = std::getenv("CSM_TORCH_DIR");
  if (dir == nullptr || *dir == '\0') return {};
  std::filesystem::path folder = LibrariesIn(dir);
  if (folder.empty()) Fail<ArgumentError>("CSM_TORCH_DIR is {}, where there is no LibTorch", dir);
  return folder;
}

/// In the environment of the python3 that is found first. Empty: not there.
std::filesystem::path TorchBesidePython() {
  const char* path = std::getenv("PATH");
  for (std::istringstream folders(path == nullptr ? "" : path); !folders.eof();) {
    std::string bin;
    std::getline(folders, bin, ':');
    std::error_code error;
    if (bin.empty() || !std::filesystem::exists(bin + "/python3", error)) continue;
    return LibrariesIn(std::filesystem::path(bin).parent_path());
  }
  return {};
}

/// So that the library's own need of LibTorch is met by this one.
void LoadTorch(const std::filesystem::path& folder) {
  if (folder.empty()) return;
  for (const char* name : {"libc10.so", "libtorch_cpu.so"}) {
    dlopen((folder / name).c_str(), RTLD_NOW | RTLD_GLOBAL);
  }
}

/// With the LibTorch that is named, else the one it was built with, else Python's. Null if it
/// cannot be loaded. It is never closed: LibTorch does not survive that.
void* Open(const std::filesystem::path& file) {
  const std::filesystem::path named = NamedTorch();
  LoadTorch(named);
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr || !named.empty()) return library;
  LoadTorch(TorchBesidePython());
  return dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
}

LoadDeviceModelFunction* FindFunction(const std::string& device) {
  const std::filesystem::path own = LibraryFolder(reinterpret_cast<const void*>(&LoadDeviceModel));
  for (const char* folder :
       {".", "../lib", "../lib/x86_64-linux-gnu", "../lib/aarch64-linux-gnu"}) {
    const auto file = (own / folder / kLibrary).lexically_normal();
    std::error_code error;
    if (!std::filesystem::exists(file, error)) continue;
    void* library = Open(file);
    if (library == nullptr) {
      Fail<Error>(
          "device {}: {} cannot be loaded: {} (CSM_TORCH_DIR may name a LibTorch folder, or a "
          "Python "
          "environment with torch)",
          device, file.string(), dlerror());
    }
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
  return std::shared_ptr<const DeviceModel>(load(BuildStamp(CSM_VERSION), checkpoint, options));
}

}  // namespace csm::engine

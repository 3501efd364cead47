#include "torch/cuda_library.h"

#include <dlfcn.h>

#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/library_folder.h"

namespace csm::train {

void* FindInCudaLibrary(const char* name) {
  static constexpr const char* kLibrary = "libcsm_cuda.so";
  const std::filesystem::path folder = LibraryFolder(&kLibrary);
  auto file = folder / kLibrary;
  std::error_code error;  // a test program stands in bin/
  if (!std::filesystem::exists(file, error)) file = folder / "../lib" / kLibrary;
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) Fail<Error>("device cuda: {} cannot be loaded: {}", kLibrary, dlerror());
  void* function = dlsym(library, name);
  if (function == nullptr) Fail<Error>("device cuda: {} is of another csm", file.string());
  return function;
}

}  // namespace csm::train

#include "base/library_folder.h"

#include <dlfcn.h>

#include <system_error>

namespace csm {

std::filesystem::path LibraryFolder(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0) return {};
  // A program's name is what its caller said, which need not be a path.
  std::error_code error;
  std::filesystem::path file = std::filesystem::canonical(info.dli_fname, error);
  if (error) file = std::filesystem::read_symlink("/proc/self/exe", error);
  return file.parent_path();
}

}  // namespace csm

#include "torch/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/error.h"

namespace csm::train {

RunLock::RunLock(const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::create_directories(folder, error)) folder_ = folder;
  file_ = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file_ < 0) Fail<FileError>("cannot write {}: {}", folder.string(), std::strerror(errno));
  // A file system without locks goes without.
  if (flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  close(file_);
  Fail<Error>("another csm train is writing to {}: choose another folder, or wait for it",
              folder.string());
}

RunLock::~RunLock() {
  if (!folder_.empty()) rmdir(folder_.c_str());  // does nothing to what holds a file
  close(file_);
}

}  // namespace csm::train

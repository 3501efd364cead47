// One run at a time in a folder.
#ifndef CSM_TORCH_RUN_LOCK_H_
#define CSM_TORCH_RUN_LOCK_H_

#include <filesystem>

namespace csm::train {

/// While it lives, no other process gets one for the folder, which is made, and removed again if it
/// stays empty. The system takes it back however the process ends. Throws Error if another process
/// has it, FileError if there can be no such folder.
class RunLock {
 public:
  explicit RunLock(const std::filesystem::path& folder);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  std::filesystem::path folder_;  // empty: it was there
  int file_ = -1;
};

}  // namespace csm::train

#endif  // CSM_TORCH_RUN_LOCK_H_

// Files that appear complete or not at all.
#ifndef CSM_BASE_ATOMIC_FILE_H_
#define CSM_BASE_ATOMIC_FILE_H_

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace csm {

/// A temporary file beside `target`, renamed onto it by Commit(); removed if never committed.
/// Write to path() by any means. A link is followed: the file it names is replaced, and keeps its
/// mode. What is no regular file (/dev/null, a named pipe) is written as it is. Throws FileError if
/// the folder cannot be written, or if `target` is a folder, or an open file of this process by its
/// number (/dev/stdout), which only WriteFileAtomically can write.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& path() const { return is_direct() ? target_ : temporary_; }
  /// Flushes the file to disk and renames it into place. Throws FileError; then nothing changed.
  void Commit();

 private:
  bool is_direct() const { return temporary_.empty(); }

  std::filesystem::path target_;
  std::filesystem::path temporary_;  // empty: the target is written as it is
  bool committed_ = false;
};

/// The number of the open file of this process that a path names (/dev/stdout, /proc/self/fd/1);
/// -1: it names none.
int OpenFileNumber(const std::filesystem::path& path);

/// Writes `content` to `target` through an AtomicFile; to an open file of this process (a shell's
/// ">> FILE" or pipe by the name of /dev/stdout) where that stands.
void WriteFileAtomically(const std::filesystem::path& target, std::string_view content);

/// Writes files into a folder.
using FolderWriter = std::function<void(const std::filesystem::path& folder)>;

/// Lets `write` make a folder beside `dir` (in it, if it is empty), which then takes its place. A
/// link is followed. Throws FileError, or what `write` throws; then `dir` is as before.
void ReplaceFolder(const std::filesystem::path& dir, const FolderWriter& write);

/// The whole content of a file. Throws FileError; also if it is larger than `max_bytes`.
std::string ReadFile(const std::filesystem::path& path, size_t max_bytes = size_t{1} << 30);

}  // namespace csm

#endif  // CSM_BASE_ATOMIC_FILE_H_

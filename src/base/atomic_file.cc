#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <random>
#include <system_error>

#include "base/error.h"

namespace csm {
namespace {

// The file that a chain of links names, whether it exists or not.
std::filesystem::path FollowLinks(std::filesystem::path path) {
  constexpr int kMaxLinks = 40;  // as the system's own limit
  std::error_code error;
  for (int i = 0; i < kMaxLinks && std::filesystem::is_symlink(path, error); ++i) {
    const auto next = std::filesystem::read_symlink(path, error);
    if (error) break;
    path = path.parent_path() / next;  // an absolute one stays as it is
  }
  return path;
}

bool IsFolderOfOpenFiles(const std::filesystem::path& folder) {
  std::error_code error;
  const auto own = std::filesystem::canonical("/proc/self/fd", error);
  return !error && std::filesystem::canonical(folder, error) == own && !error;
}

// Not mkstemp, which makes the file private: it should have the mode that open(2) gives, or that of
// the file which it replaces.
std::filesystem::path MakeTemporary(const std::filesystem::path& target) {
  constexpr int kMaxTries = 100;
  std::random_device random;
  int fd = -1;
  std::filesystem::path path;
  errno = EEXIST;
  for (int i = 0; fd < 0 && errno == EEXIST && i < kMaxTries; ++i) {
    // The extension is kept last because audio libraries choose the format by it; the rest is
    // short because the target's name may be as long as names can be.
    const std::string extension = target.extension().string();
    path = target.parent_path() /
           fmt::format(".csm-{:08x}{}", random(), extension.size() < 16 ? extension : "");
    fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  }
  if (fd < 0) Fail<FileError>("cannot write {}: {}", target.string(), std::strerror(errno));
  struct stat replaced = {};
  if (stat(target.c_str(), &replaced) == 0) (void)fchmod(fd, replaced.st_mode & 0777);
  close(fd);
  return path;
}

// A name that is not taken yet, in `folder`; what stands there in the end is removed.
class TemporaryName {
 public:
  explicit TemporaryName(const std::filesystem::path& folder) {
    std::random_device random;
    std::error_code error;
    do {
      path_ = folder / fmt::format(".csm-{:08x}", random());
    } while (std::filesystem::exists(std::filesystem::symlink_status(path_, error)));
  }
  ~TemporaryName() {
    std::error_code ignored;  // what stays only takes room
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryName(const TemporaryName&) = delete;
  TemporaryName& operator=(const TemporaryName&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void WriteOpenFile(int number, const std::filesystem::path& name, std::string_view content) {
  while (!content.empty()) {
    const ssize_t written = write(number, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) Fail<FileError>("cannot write {}: {}", name.string(), std::strerror(errno));
    content.remove_prefix(static_cast<size_t>(written));
  }
}

void Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (error) Fail<FileError>("cannot put {} in its place: {}", to.string(), error.message());
}

// Into an empty folder, which stays the one that a shell may stand in, or a disk be mounted on.
void MoveEntries(const std::filesystem::path& from, const std::filesystem::path& to) {
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    Rename(entry.path(), to / entry.path().filename());
  }
}

// What was at `to` is at `from` then.
void Exchange(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
  // Some file systems cannot: there is a moment without a folder.
  const TemporaryName old(to.parent_path());
  Rename(to, old.path());
  std::error_code error;
  std::filesystem::rename(from, to, error);
  if (!error) return;
  std::error_code ignored;
  std::filesystem::rename(old.path(), to, ignored);
  Fail<FileError>("cannot put {} in its place: {}", to.string(), error.message());
}

}  // namespace

int OpenFileNumber(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::path place = path;  // /dev/stdout is a link to such a path
  for (int i = 0; i < 3; ++i) {
    if (IsFolderOfOpenFiles(place.parent_path())) {
      const std::string name = place.filename().string();
      int number = -1;
      const auto [end, problem] = std::from_chars(name.data(), name.data() + name.size(), number);
      return problem == std::errc() && end == name.data() + name.size() ? number : -1;
    }
    const auto next = std::filesystem::read_symlink(place, error);
    if (error) return -1;
    place = place.parent_path() / next;
  }
  return -1;
}

AtomicFile::AtomicFile(const std::filesystem::path& target) : target_(FollowLinks(target)) {
  if (OpenFileNumber(target) >= 0) {
    Fail<FileError>("cannot write {}: it is open already; give the name of a file",
                    target.string());
  }
  std::error_code error;  // what cannot be looked at is found missing or forbidden below
  const auto status = std::filesystem::status(target_, error);
  if (std::filesystem::is_directory(status)) {
    Fail<FileError>("cannot write {}: it is a folder", target_.string());
  }
  // Renaming onto /dev/null would put a plain file in the place of the device.
  const bool is_device =
      std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
  if (!is_device) temporary_ = MakeTemporary(target_);
}

AtomicFile::~AtomicFile() {
  if (committed_ || is_direct()) return;
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::Commit() {
  if (is_direct()) return;
  const int fd = open(temporary_.c_str(), O_RDWR | O_CLOEXEC);
  const bool synced = fd >= 0 && fsync(fd) == 0;
  const int sync_errno = errno;
  if (fd >= 0) close(fd);
  if (!synced) Fail<FileError>("cannot write {}: {}", target_.string(), std::strerror(sync_errno));
  std::error_code error;
  std::filesystem::rename(temporary_, target_, error);
  if (error) Fail<FileError>("cannot write {}: {}", target_.string(), error.message());
  committed_ = true;
}

void WriteFileAtomically(const std::filesystem::path& target, std::string_view content) {
  if (const int number = OpenFileNumber(target); number >= 0) {
    WriteOpenFile(number, target, content);
    return;
  }
  AtomicFile file(target);
  std::ofstream out(file.path(), std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) Fail<FileError>("cannot write {}: {}", target.string(), std::strerror(errno));
  file.Commit();
}

void ReplaceFolder(const std::filesystem::path& path, const FolderWriter& write) {
  std::error_code error;
  // Links are followed, "." and "DIR/" become names.
  const std::filesystem::path dir = std::filesystem::weakly_canonical(path, error);
  if (error) Fail<FileError>("cannot write {}: {}", path.string(), error.message());
  const bool is_there = std::filesystem::exists(dir, error);
  const bool is_empty = is_there && std::filesystem::is_empty(dir, error);
  const TemporaryName next(is_empty ? dir : dir.parent_path());
  write(next.path());
  if (is_empty) {
    MoveEntries(next.path(), dir);
  } else if (!is_there) {
    Rename(next.path(), dir);
  } else {
    Exchange(next.path(), dir);
  }
}

std::string ReadFile(const std::filesystem::path& path, size_t max_bytes) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) {
    Fail<FileError>("cannot open {}: no such file", path.string());
  }
  if (std::filesystem::is_directory(path, error)) {
    Fail<FileError>("cannot open {}: it is a folder", path.string());
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) Fail<FileError>("cannot open {}: {}", path.string(), std::strerror(errno));
  std::string content;
  char buffer[1 << 16];
  while (in.read(buffer, sizeof buffer) || in.gcount() > 0) {
    content.append(buffer, static_cast<size_t>(in.gcount()));
    if (content.size() > max_bytes) {
      Fail<FormatError>("{} is larger than {} bytes", path.string(), max_bytes);
    }
  }
  if (in.bad()) Fail<FileError>("cannot read {}: {}", path.string(), std::strerror(errno));
  return content;
}

}  // namespace csm

#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "base/error.h"

namespace csm {
namespace {

std::filesystem::path MakeTemporary(const std::filesystem::path& target) {
  // The extension is kept last because audio libraries choose the format by it.
  const std::string extension = target.extension().string();
  const std::string file = fmt::format(".{}.XXXXXX{}", target.stem().string(), extension);
  std::string name = (target.parent_path() / file).string();
  const int fd = mkostemps(name.data(), static_cast<int>(extension.size()), O_CLOEXEC);
  if (fd < 0) Fail<FileError>("cannot write {}: {}", target.string(), std::strerror(errno));
  // mkstemp makes the file private; the result should have the mode that open(2) would give.
  const mode_t mask = umask(0);
  umask(mask);
  (void)fchmod(fd, 0666 & ~mask);
  close(fd);
  return name;
}

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
  std::error_code error;  // what cannot be looked at is found missing or forbidden below
  const auto status = std::filesystem::status(target_, error);
  if (std::filesystem::is_directory(status)) {
    Fail<FileError>("cannot write {}: it is a folder", target_.string());
  }
  // Renaming onto /dev/null would put a plain file in the place of the device.
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    Fail<FileError>("cannot write {}: it exists and is not a regular file", target_.string());
  }
  temporary_ = MakeTemporary(target_);
}

AtomicFile::~AtomicFile() {
  if (committed_) return;
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::Commit() {
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
  AtomicFile file(target);
  std::ofstream out(file.path(), std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) Fail<FileError>("cannot write {}: {}", target.string(), std::strerror(errno));
  file.Commit();
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
  return content;
}

}  // namespace csm

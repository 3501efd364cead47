#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/pages.h"

namespace csm {

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe: no wait
  if (fd < 0) Fail<FileError>("cannot open {}: {}", path_.string(), std::strerror(errno));
  struct stat info {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    Fail<FileError>("{} is not a regular file", path_.string());
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size > 0) {
    void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int map_errno = errno;
    close(fd);
    if (address == MAP_FAILED) {
      Fail<FileError>("cannot map {}: {}", path_.string(), std::strerror(map_errno));
    }
    bytes_ = {static_cast<const std::byte*>(address), size};
  } else {
    close(fd);
  }
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::Release(std::span<const std::byte> part) const { ReleasePages(part); }

}  // namespace csm

#include "audio/byte_stream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/atomic_file.h"
#include "base/error.h"

namespace csm::audio {
namespace {

class FileStream : public ByteStream {
 public:
  explicit FileStream(int fd) : fd_(fd) {}
  ~FileStream() override { close(fd_); }

  int64_t Size() override {
    struct stat status;
    if (fstat(fd_, &status) != 0) return KeepError(0);
    return status.st_size;
  }

  int64_t ReadAt(int64_t offset, void* data, int64_t count) override {
    return Transfer(count, [&](int64_t done) {
      return pread(fd_, static_cast<char*>(data) + done, static_cast<size_t>(count - done),
                   offset + done);
    });
  }

  int64_t WriteAt(int64_t offset, const void* data, int64_t count) override {
    return Transfer(count, [&](int64_t done) {
      return pwrite(fd_, static_cast<const char*>(data) + done, static_cast<size_t>(count - done),
                    offset + done);
    });
  }

 private:
  int64_t KeepError(int64_t result) {
    if (error_ == 0) error_ = errno;
    return result;
  }

  template <typename Operation>
  int64_t Transfer(int64_t count, const Operation& operation) {
    int64_t done = 0;
    while (done < count) {
      const ssize_t part = operation(done);
      if (part < 0 && errno == EINTR) continue;
      if (part < 0) return KeepError(done);
      if (part == 0) break;
      done += part;
    }
    return done;
  }

  int fd_;
};

class MemoryStream : public ByteStream {
 public:
  explicit MemoryStream(std::span<const std::byte> bytes) : bytes_(bytes) {}

  int64_t Size() override { return static_cast<int64_t>(bytes_.size()); }

  int64_t ReadAt(int64_t offset, void* data, int64_t count) override {
    const int64_t part = std::clamp<int64_t>(Size() - offset, 0, count);
    if (part > 0) std::memcpy(data, bytes_.data() + offset, static_cast<size_t>(part));
    return part;
  }

  int64_t WriteAt(int64_t, const void*, int64_t) override {
    error_ = EROFS;
    return 0;
  }

 private:
  std::span<const std::byte> bytes_;
};

/// Memory that the stream owns.
class BufferedStream : public MemoryStream {
 public:
  explicit BufferedStream(std::unique_ptr<const std::string> content)
      : MemoryStream(std::as_bytes(std::span(*content))), content_(std::move(content)) {}

 private:
  std::unique_ptr<const std::string> content_;
};

ByteStream& Self(void* self) { return *static_cast<ByteStream*>(self); }

}  // namespace

sf_count_t ByteStream::SizeOf(void* self) { return Self(self).Size(); }

sf_count_t ByteStream::Seek(sf_count_t offset, int whence, void* self) {
  ByteStream& stream = Self(self);
  int64_t target = 0;
  const int64_t base = whence == SEEK_SET   ? 0
                       : whence == SEEK_CUR ? stream.position_
                                            : stream.Size();
  // Offsets come from the headers of untrusted files.
  if (__builtin_add_overflow(base, offset, &target) || target < 0) return -1;
  return stream.position_ = target;
}

sf_count_t ByteStream::Read(void* data, sf_count_t count, void* self) {
  ByteStream& stream = Self(self);
  const int64_t done = stream.ReadAt(stream.position_, data, std::max<int64_t>(count, 0));
  stream.position_ += done;
  return done;
}

sf_count_t ByteStream::Write(const void* data, sf_count_t count, void* self) {
  ByteStream& stream = Self(self);
  const int64_t done = stream.WriteAt(stream.position_, data, std::max<int64_t>(count, 0));
  stream.position_ += done;
  return done;
}

sf_count_t ByteStream::Tell(void* self) { return Self(self).position_; }

SNDFILE* ByteStream::OpenSndfile(int mode, SF_INFO* info) {
  // libsndfile copies the table.
  SF_VIRTUAL_IO io{SizeOf, Seek, Read, Write, Tell};
  return sf_open_virtual(&io, mode, info, this);
}

std::unique_ptr<ByteStream> OpenForReading(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(file, error)) {
    auto content = std::make_unique<const std::string>(ReadFile(file));
    return std::make_unique<BufferedStream>(std::move(content));
  }
  const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) Fail<FileError>("cannot open {}: {}", file.string(), std::strerror(errno));
  return std::make_unique<FileStream>(fd);
}

std::unique_ptr<ByteStream> OpenForWriting(const std::filesystem::path& file) {
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) Fail<FileError>("cannot write {}: {}", file.string(), std::strerror(errno));
  return std::make_unique<FileStream>(fd);
}

std::unique_ptr<ByteStream> OpenMemory(std::span<const std::byte> bytes) {
  return std::make_unique<MemoryStream>(bytes);
}

}  // namespace csm::audio

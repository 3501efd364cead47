#include "audio/wav_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <limits>

#include "audio/wav_header.h"
#include "base/error.h"

namespace csm::audio {
namespace {

/// Holds SIGPIPE back from this thread: a library may not change how the process takes signals.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &previous_);
  }
  ~SigpipeGuard() {
    if (!was_pending_) {
      const timespec no_wait{};
      while (sigtimedwait(&sigpipe_, nullptr, &no_wait) == -1 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t sigpipe_;
  sigset_t previous_;
  bool was_pending_;
};

int64_t StartOfFile(int fd) {
  struct stat status;
  const int flags = fcntl(fd, F_GETFL);
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return -1;
  if (flags < 0 || (flags & O_APPEND) != 0) return -1;
  return lseek(fd, 0, SEEK_CUR);
}

[[noreturn]] void FailWrite() {
  Fail<FileError>("cannot write the wav stream: {}", std::strerror(errno));
}

}  // namespace

WavStream::WavStream(int fd, int sampling_rate, SampleType type)
    : fd_(fd), sampling_rate_(sampling_rate), type_(type), start_(StartOfFile(fd)) {}

bool WavStream::WriteBytes(std::string_view bytes) {
  const SigpipeGuard guard;
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) {  // the pipe does not block: wait for room
      pollfd room{fd_, POLLOUT, 0};
      (void)poll(&room, 1, /*timeout=*/-1);
      continue;
    }
    if (written < 0 && errno == EPIPE) reader_is_gone_ = true;
    if (reader_is_gone_) return false;
    if (written < 0) FailWrite();
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool WavStream::WriteHeaderOnce() {
  if (has_header_) return true;
  has_header_ = true;
  return WriteBytes(WavHeader(sampling_rate_, type_, std::nullopt));
}

bool WavStream::Write(std::span<const float> samples) {
  CheckFinite(samples, num_samples_, "the wav stream");
  if (type_ != SampleType::kFloat) num_saturated_ += CountBeyondFullScale(samples);
  num_samples_ += static_cast<int64_t>(samples.size());
  std::string bytes;
  AppendSamples(samples, type_, &bytes);
  return WriteHeaderOnce() && WriteBytes(bytes);
}

bool WavStream::Finish() {
  if (reader_is_gone_ || !WriteHeaderOnce()) return false;
  const int64_t data_bytes = num_samples_ * BytesPerSample(type_);
  // RIFF pads chunks to even lengths; a reader of a pipe would take the byte for half a sample.
  if (start_ < 0) return true;
  if (data_bytes % 2 != 0 && !WriteBytes(std::string_view("\0", 1))) return false;
  if (data_bytes > std::numeric_limits<uint32_t>::max()) return true;
  const std::string header = WavHeader(sampling_rate_, type_, static_cast<uint32_t>(data_bytes));
  const ssize_t written = pwrite(fd_, header.data(), header.size(), start_);
  if (written < 0) FailWrite();
  return true;
}

}  // namespace csm::audio

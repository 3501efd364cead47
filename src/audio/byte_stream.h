// Bytes that libsndfile reads or writes through its virtual I/O: a file or a piece of memory.
//
// Going through our own callbacks, instead of handing libsndfile a path, lets files and uploads
// take one path and keeps the errno of a failed write, which some of its encoders swallow.
#ifndef CSM_AUDIO_BYTE_STREAM_H_
#define CSM_AUDIO_BYTE_STREAM_H_

#include <sndfile.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace csm::audio {

/// Random access to bytes. Not for use by two threads at a time. Never throws after construction:
/// libsndfile's C frames lie between the callbacks and us.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  virtual int64_t Size() = 0;
  /// Bytes read: fewer than `count` at the end or after an error.
  virtual int64_t ReadAt(int64_t offset, void* data, int64_t count) = 0;
  /// Bytes written: fewer than `count` after an error.
  virtual int64_t WriteAt(int64_t offset, const void* data, int64_t count) = 0;

  /// errno of the first operation that failed; 0 if none did.
  int error() const { return error_; }

  /// Opens this stream with libsndfile; null if that fails. The stream must outlive the SNDFILE.
  SNDFILE* OpenSndfile(int mode, SF_INFO* info);

 protected:
  int error_ = 0;

 private:
  static sf_count_t SizeOf(void* self);
  static sf_count_t Seek(sf_count_t offset, int whence, void* self);
  static sf_count_t Read(void* data, sf_count_t count, void* self);
  static sf_count_t Write(const void* data, sf_count_t count, void* self);
  static sf_count_t Tell(void* self);

  int64_t position_ = 0;
};

/// Opens a file for reading. What is not a regular file (a pipe) is read whole, up to 1 GiB.
/// Throws FileError.
std::unique_ptr<ByteStream> OpenForReading(const std::filesystem::path& file);
/// Empties a file for writing. Throws FileError.
std::unique_ptr<ByteStream> OpenForWriting(const std::filesystem::path& file);
/// Reads `bytes`, which must outlive the stream.
std::unique_ptr<ByteStream> OpenMemory(std::span<const std::byte> bytes);

}  // namespace csm::audio

#endif  // CSM_AUDIO_BYTE_STREAM_H_

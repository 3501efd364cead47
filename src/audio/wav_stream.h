// A wav file written into a pipe while its audio is being made.
#ifndef CSM_AUDIO_WAV_STREAM_H_
#define CSM_AUDIO_WAV_STREAM_H_

#include <cstdint>
#include <span>
#include <string>

#include "audio/sample_type.h"

namespace csm::audio {

/// Writes a mono wav stream to a file descriptor that it does not own, such as standard output.
/// What has been written is at any time a stream that plays (wav_header.h); if the descriptor is a
/// file that can be sought in, Finish() enters the sizes.
class WavStream {
 public:
  /// Nothing is written yet.
  WavStream(int fd, int sampling_rate, SampleType type = SampleType::kPcm16);

  /// Writes at once, header first. Returns false if the reader is gone (EPIPE; no SIGPIPE is
  /// raised): nothing more can be written. Throws FileError on any other failure, ArgumentError on
  /// samples that are not finite.
  [[nodiscard]] bool Write(std::span<const float> samples);
  /// Ends the stream; one without samples has a header still. Returns and throws as Write().
  [[nodiscard]] bool Finish();

  int64_t num_samples() const { return num_samples_; }
  int64_t num_saturated() const { return num_saturated_; }  ///< as AudioWriter's

 private:
  bool WriteBytes(std::string_view bytes);
  bool WriteHeaderOnce();

  int fd_;
  int sampling_rate_;
  SampleType type_;
  int64_t start_ = -1;  // of the stream in a file; -1: not a file, or one that only appends
  bool has_header_ = false;
  bool reader_is_gone_ = false;
  int64_t num_samples_ = 0;
  int64_t num_saturated_ = 0;
};

}  // namespace csm::audio

#endif  // CSM_AUDIO_WAV_STREAM_H_

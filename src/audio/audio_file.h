// Audio files in: any container libsndfile decodes, any rate, any channels, as mono float chunks.
#ifndef CSM_AUDIO_AUDIO_FILE_H_
#define CSM_AUDIO_AUDIO_FILE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "csm/csm.hpp"

namespace csm::audio {

/// Reads an audio file in pieces, so that the length of the file does not matter to memory.
/// Channels are averaged, then resampled (resampler.h). Integer samples become value / 2^(bits -
/// 1); floating-point ones are kept as they are, beyond [-1, 1] too.
///
/// Read: wav (also RF64, W64), flac, ogg (vorbis, opus), mp3, aiff, au, caf. Throws FileError if
/// the file cannot be opened and FormatError if it is not audio, is cut short (wav, flac, aiff, au,
/// caf: mp3 and ogg have no length to check), holds no samples, claims a rate outside
/// [kMinSamplingRate, kMaxSamplingRate], or has a sample that is not finite or beyond
/// kMaxMagnitude.
class AudioReader {
 public:
  /// sampling_rate: of the samples to be read, in Hz; 0: the file's own.
  explicit AudioReader(const std::filesystem::path& file, int sampling_rate = 0);
  /// A file in memory, which must outlive the reader; `name` stands for it in messages.
  AudioReader(std::span<const std::byte> bytes, std::string name, int sampling_rate = 0);
  ~AudioReader();
  AudioReader(AudioReader&&) noexcept;
  AudioReader& operator=(AudioReader&&) noexcept;

  /// The next samples, valid until the next call; empty at the end and only there.
  std::span<const float> ReadChunk();

  int sampling_rate() const;       ///< of the samples read
  int file_sampling_rate() const;  ///< of the file
  int num_channels() const;        ///< of the file
  /// Samples to come in all, as the header claims; none if it does not. For progress bars: hostile
  /// headers lie, so reserve nothing by it.
  std::optional<int64_t> claimed_num_samples() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A whole file. Audio of more than 2^29 samples (6 hours at 24 kHz, 2 GiB) is an ArgumentError.
Waveform ReadAudio(const std::filesystem::path& file, int sampling_rate = 0);

}  // namespace csm::audio

#endif  // CSM_AUDIO_AUDIO_FILE_H_

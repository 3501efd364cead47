// Audio files out: complete or not there.
#ifndef CSM_AUDIO_AUDIO_WRITER_H_
#define CSM_AUDIO_AUDIO_WRITER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>

#include "audio/sample_type.h"

namespace csm::audio {

/// Writes mono audio to a file whose extension says its format:
///   .wav          PCM_16 (default), PCM_24, FLOAT
///   .flac         PCM_16 (default), PCM_24
///   .ogg, .oga    Vorbis
///   .opus         Opus (8, 12, 16, 24 or 48 kHz)
///   .mp3          MP3 (the rates of MPEG: 8 to 48 kHz)
/// FLOAT keeps every bit. Integer types are what Python's soundfile writes, bit for bit: wav rounds
/// down (AppendSamples), flac to the nearest. Integer and lossy types limit samples to full scale.
class AudioWriter {
 public:
  /// Throws ArgumentError if the extension, or the type or rate in such a file, is not supported,
  /// FileError if the folder cannot be written.
  AudioWriter(const std::filesystem::path& file, int sampling_rate,
              std::optional<SampleType> type = std::nullopt);
  ~AudioWriter();  ///< without Commit, no file
  AudioWriter(AudioWriter&&) noexcept;
  AudioWriter& operator=(AudioWriter&&) noexcept;

  /// Throws FileError (a full disk) and, for samples that are not finite, ArgumentError.
  void Write(std::span<const float> samples);
  /// Ends the file and renames it into place. Throws FileError; then nothing changed.
  void Commit();

  int64_t num_samples() const;
  /// Samples so far that were beyond full scale and so were limited; always 0 for FLOAT.
  int64_t num_saturated() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes a whole file; returns the number of saturated samples.
int64_t WriteAudio(const std::filesystem::path& file, std::span<const float> samples,
                   int sampling_rate, std::optional<SampleType> type = std::nullopt);

}  // namespace csm::audio

#endif  // CSM_AUDIO_AUDIO_WRITER_H_

#include "audio/audio_file.h"

#include <sndfile.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "audio/byte_stream.h"
#include "audio/resampler.h"
#include "audio/sample_type.h"
#include "audio/wav_header.h"
#include "base/error.h"

namespace csm::audio {
namespace {

constexpr std::string_view kReadable = "wav, flac, ogg (vorbis, opus), mp3, aiff, au and caf";
constexpr size_t kMaxWaveformSamples = size_t{1} << 29;
// Per channel: 64 KiB of a mono file at a time, and 64 MiB at libsndfile's limit of 1024 channels.
constexpr sf_count_t kChunkFrames = 1 << 14;

/// libsndfile also reads dozens of formats nobody records speech in; they stay closed, because
/// each is one more parser of untrusted bytes and some accept any file at all.
bool IsReadable(int format) {
  switch (format & SF_FORMAT_TYPEMASK) {
    case SF_FORMAT_WAV:
    case SF_FORMAT_WAVEX:
    case SF_FORMAT_RF64:
    case SF_FORMAT_W64:
    case SF_FORMAT_FLAC:
    case SF_FORMAT_OGG:
    case SF_FORMAT_MPEG:
    case SF_FORMAT_AIFF:
    case SF_FORMAT_AU:
    case SF_FORMAT_CAF:
      return true;
    default:
      return false;
  }
}

/// Does the header of such a file say exactly how many frames follow?
bool KnowsItsLength(int format) {
  const int type = format & SF_FORMAT_TYPEMASK;
  return type != SF_FORMAT_OGG && type != SF_FORMAT_MPEG;
}

/// libsndfile's words for an error, made to fit inside a sentence about the file's content.
std::string Reason(int error) {
  std::string_view reason = sf_error_number(error);
  // Of these two it means a header with a rate, size or count of 0 or beyond all limits, and an mp3
  // file whose first frames are not there.
  if (reason.starts_with("Internal error")) return "its header claims impossible values";
  if (reason.starts_with("File does not exist")) return "no audio is found in it";
  if (reason.starts_with("Error : ")) reason.remove_prefix(8);
  while (reason.ends_with('.') || reason.ends_with('\n')) reason.remove_suffix(1);
  return std::string(reason);
}

struct SndfileCloser {
  void operator()(SNDFILE* file) const { sf_close(file); }
};

}  // namespace

struct AudioReader::Impl {
  Impl(std::unique_ptr<ByteStream> byte_stream, std::string file_name, int sampling_rate)
      : name(std::move(file_name)), stream(std::move(byte_stream)) {
    Open();
    output_rate = sampling_rate == 0 ? info.samplerate : sampling_rate;
    resampler.emplace(info.samplerate, output_rate);
    interleaved.resize(static_cast<size_t>(kChunkFrames * info.channels));
  }

  void Open() {
    if (stream->Size() == 0) Fail<FormatError>("{} is empty: it has 0 bytes", name);
    CheckWavIsWhole(*stream, name);
    file.reset(stream->OpenSndfile(SFM_READ, &info));
    if (file == nullptr) {
      const int error = sf_error(nullptr);
      if (stream->error() != 0) {
        Fail<FileError>("cannot read {}: {}", name, std::strerror(stream->error()));
      }
      if (error == SF_ERR_UNRECOGNISED_FORMAT) FailUnknownFormat();
      Fail<FormatError>("{} is not a valid audio file: {}", name, Reason(error));
    }
    if (!IsReadable(info.format)) FailUnknownFormat();
    if (info.samplerate < kMinSamplingRate || info.samplerate > kMaxSamplingRate) {
      Fail<FormatError>("{} claims a sampling rate of {} Hz: {} to {} Hz can be read", name,
                        info.samplerate, kMinSamplingRate, kMaxSamplingRate);
    }
    if (info.channels < 1) Fail<FormatError>("{} claims {} channels", name, info.channels);
    if (info.frames == 0) Fail<FormatError>("{} holds no audio: it has 0 samples", name);
  }

  [[noreturn]] void FailUnknownFormat() const {
    Fail<FormatError>("{} is not in an audio format that can be read: {}", name, kReadable);
  }

  /// The average of the channels of the next frames; empty at the end.
  std::span<const float> ReadMono() {
    const sf_count_t num_frames = sf_readf_float(file.get(), interleaved.data(), kChunkFrames);
    if (stream->error() != 0) {
      Fail<FileError>("cannot read {}: {}", name, std::strerror(stream->error()));
    }
    if (num_frames <= 0) {
      CheckEnd();
      return {};
    }
    const size_t channels = static_cast<size_t>(info.channels);
    const auto samples = std::span(interleaved).first(static_cast<size_t>(num_frames) * channels);
    CheckSamples(samples);
    num_read += num_frames;
    if (channels == 1) return samples;
    for (size_t t = 0; t < static_cast<size_t>(num_frames); ++t) {
      // Sum, then one division, in f32: numpy's mean, so that a context equals librosa's.
      float sum = 0;
      for (size_t c = 0; c < channels; ++c) sum += samples[t * channels + c];
      interleaved[t] = sum / static_cast<float>(channels);
    }
    return samples.first(static_cast<size_t>(num_frames));
  }

  void CheckSamples(std::span<const float> samples) const {
    const auto index = FindNonAudio(samples);
    if (!index) return;
    const bool is_finite = std::isfinite(samples[static_cast<size_t>(*index)]);
    const int64_t frame = num_read + *index / info.channels;
    Fail<FormatError>("{} holds a sample that is {}: sample {} of channel {}, at {:.3f} s", name,
                      is_finite ? "too large to be audio" : "not a finite number", frame,
                      *index % info.channels, static_cast<double>(frame) / info.samplerate);
  }

  void CheckEnd() const {
    if (const int error = sf_error(file.get()); error != SF_ERR_NO_ERROR) {
      Fail<FormatError>("{} is damaged after {} samples: {}", name, num_read, Reason(error));
    }
    if (num_read == 0) Fail<FormatError>("{} holds no audio that can be decoded", name);
    if (KnowsItsLength(info.format) && num_read < info.frames && info.frames != SF_COUNT_MAX) {
      Fail<FormatError>("{} is cut short: its header promises {} samples, {} are there", name,
                        info.frames, num_read);
    }
  }

  std::string name;
  std::unique_ptr<ByteStream> stream;
  std::unique_ptr<SNDFILE, SndfileCloser> file;
  SF_INFO info{};
  int output_rate = 0;
  std::optional<Resampler> resampler;
  int64_t num_read = 0;  // frames of the file
  bool finished = false;
  std::vector<float> interleaved;
  std::vector<float> output;
};

AudioReader::AudioReader(const std::filesystem::path& file, int sampling_rate)
    : impl_(std::make_unique<Impl>(OpenForReading(file), file.string(), sampling_rate)) {}
AudioReader::AudioReader(std::span<const std::byte> bytes, std::string name, int sampling_rate)
    : impl_(std::make_unique<Impl>(OpenMemory(bytes), std::move(name), sampling_rate)) {}
AudioReader::~AudioReader() = default;
AudioReader::AudioReader(AudioReader&&) noexcept = default;
AudioReader& AudioReader::operator=(AudioReader&&) noexcept = default;

std::span<const float> AudioReader::ReadChunk() {
  impl_->output.clear();
  // A chunk of the file may yet complete no sample of the output.
  while (impl_->output.empty() && !impl_->finished) {
    const auto mono = impl_->ReadMono();
    if (mono.empty()) {
      impl_->resampler->Finish(&impl_->output);
      impl_->finished = true;
    } else {
      impl_->resampler->Push(mono, &impl_->output);
    }
  }
  return impl_->output;
}

int AudioReader::sampling_rate() const { return impl_->output_rate; }
int AudioReader::file_sampling_rate() const { return impl_->info.samplerate; }
int AudioReader::num_channels() const { return impl_->info.channels; }

std::optional<int64_t> AudioReader::claimed_num_samples() const {
  const SF_INFO& info = impl_->info;
  if (info.frames <= 0 || info.frames == SF_COUNT_MAX) return std::nullopt;
  return static_cast<int64_t>(
      std::ceil(static_cast<double>(info.frames) * impl_->output_rate / info.samplerate));
}

Waveform ReadAudio(const std::filesystem::path& file, int sampling_rate) {
  AudioReader reader(file, sampling_rate);
  Waveform waveform;
  waveform.sampling_rate = reader.sampling_rate();
  for (auto chunk = reader.ReadChunk(); !chunk.empty(); chunk = reader.ReadChunk()) {
    if (waveform.samples.size() + chunk.size() > kMaxWaveformSamples) {
      Fail<ArgumentError>(
          "{} holds more than {} samples at {} Hz, which is too long to be read whole",
          file.string(), kMaxWaveformSamples, waveform.sampling_rate);
    }
    waveform.samples.insert(waveform.samples.end(), chunk.begin(), chunk.end());
  }
  return waveform;
}

}  // namespace csm::audio

#include "audio/audio_writer.h"

#include <sndfile.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string>
#include <vector>

#include "audio/byte_stream.h"
#include "base/atomic_file.h"
#include "base/error.h"

namespace csm::audio {
namespace {

// libsndfile's Vorbis encoder takes a whole call's samples onto its stack frame by frame, and
// crashes on minutes at once.
constexpr size_t kEncodedPiece = 1 << 14;
// Sizes in a wav header have 32 bits; 4 KiB are left for the header.
constexpr int64_t kMaxWavBytes = (int64_t{1} << 32) - 4096;

struct FileFormat {
  std::string_view extension;
  int container;
  int lossy_codec;  // 0: the samples are of a SampleType
};

constexpr FileFormat kFormats[] = {
    {".wav", SF_FORMAT_WAV, 0},
    {".flac", SF_FORMAT_FLAC, 0},
    {".ogg", SF_FORMAT_OGG, SF_FORMAT_VORBIS},
    {".oga", SF_FORMAT_OGG, SF_FORMAT_VORBIS},
    {".opus", SF_FORMAT_OGG, SF_FORMAT_OPUS},
    {".mp3", SF_FORMAT_MPEG, SF_FORMAT_MPEG_LAYER_III},
};

const FileFormat& FormatOf(const std::filesystem::path& file) {
  std::string extension = file.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const FileFormat& format : kFormats) {
    if (format.extension == extension) return format;
  }
  Fail<ArgumentError>("cannot write {}: its extension must be .wav, .flac, .ogg, .opus or .mp3",
                      file.string());
}

int SndfileSubtype(SampleType type) {
  switch (type) {
    case SampleType::kFloat:
      return SF_FORMAT_FLOAT;
    case SampleType::kPcm16:
      return SF_FORMAT_PCM_16;
    default:
      return SF_FORMAT_PCM_24;
  }
}

}  // namespace

struct AudioWriter::Impl {
  Impl(const std::filesystem::path& path, int sampling_rate, std::optional<SampleType> requested)
      : name(path.string()), format(FormatOf(path)), type(requested.value_or(SampleType::kPcm16)) {
    CheckSupported(requested.has_value());
    std::error_code error;
    if (std::filesystem::is_fifo(path, error)) {
      Fail<ArgumentError>(
          "cannot write {}: it is a pipe, and audio files are not written from front to back; give "
          "the name of a file, or stream wav to standard output",
          name);
    }
    info.samplerate = sampling_rate;
    info.channels = 1;
    info.format =
        format.container | (format.lossy_codec != 0 ? format.lossy_codec : SndfileSubtype(type));
    if (!sf_format_check(&info)) FailRate();
    target.emplace(path);
    stream = OpenForWriting(target->path());
    file = stream->OpenSndfile(SFM_WRITE, &info);
    if (file == nullptr) {
      CheckStream();
      FailRate();
    }
    // Limit instead of wrapping around, as soundfile does.
    sf_command(file, SFC_SET_CLIPPING, nullptr, SF_TRUE);
    // It holds the time of day: the same audio would give different files.
    sf_command(file, SFC_SET_ADD_PEAK_CHUNK, nullptr, SF_FALSE);
  }

  ~Impl() {
    if (file != nullptr) sf_close(file);
  }

  void CheckSupported(bool has_type) const {
    if (has_type && format.lossy_codec != 0) {
      Fail<ArgumentError>("cannot write {} as {}: {} files are lossy and have no subtype", name,
                          SampleTypeName(type), format.extension);
    }
    if (format.container == SF_FORMAT_FLAC && type == SampleType::kFloat) {
      Fail<ArgumentError>("cannot write {} as FLOAT: .flac files hold PCM_16 or PCM_24", name);
    }
  }

  [[noreturn]] void FailRate() const {
    Fail<ArgumentError>("cannot write {}: {} files cannot hold audio at {} Hz", name,
                        format.extension, info.samplerate);
  }

  void CheckStream() const {
    if (stream->error() == 0) return;
    Fail<FileError>("cannot write {}: {}", name, std::strerror(stream->error()));
  }

  void Write(std::span<const float> samples) {
    CheckFinite(samples, num_samples, name);
    const int64_t total = num_samples + static_cast<int64_t>(samples.size());
    if (format.container == SF_FORMAT_WAV && total > kMaxWavBytes / BytesPerSample(type)) {
      Fail<ArgumentError>("cannot write {}: wav files end at 4 GiB; .flac files do not", name);
    }
    const bool saturates = format.lossy_codec != 0 || type != SampleType::kFloat;
    if (saturates) num_saturated += CountBeyondFullScale(samples);
    for (size_t begin = 0; begin < samples.size(); begin += kEncodedPiece) {
      WritePiece(samples.subspan(begin, std::min(kEncodedPiece, samples.size() - begin)));
    }
    num_samples = total;
  }

  void WritePiece(std::span<const float> samples) {
    if (format.lossy_codec != 0) {  // their encoders do not limit
      limited.resize(samples.size());
      std::transform(samples.begin(), samples.end(), limited.begin(),
                     [](float x) { return std::clamp(x, -1.0f, 1.0f); });
      samples = limited;
    }
    const sf_count_t count = static_cast<sf_count_t>(samples.size());
    const sf_count_t written = sf_write_float(file, samples.data(), count);
    CheckStream();
    if (written != count) Fail<FileError>("cannot write {}: {}", name, sf_strerror(file));
  }

  void Commit() {
    SNDFILE* closing = std::exchange(file, nullptr);
    const int error = sf_close(closing);
    CheckStream();
    if (error != 0) Fail<FileError>("cannot write {}: {}", name, sf_error_number(error));
    stream.reset();
    target->Commit();
  }

  std::string name;
  const FileFormat& format;
  SampleType type;
  SF_INFO info{};
  std::optional<AtomicFile> target;
  std::unique_ptr<ByteStream> stream;
  SNDFILE* file = nullptr;
  int64_t num_samples = 0;
  int64_t num_saturated = 0;
  std::vector<float> limited;
};

AudioWriter::AudioWriter(const std::filesystem::path& file, int sampling_rate,
                         std::optional<SampleType> type)
    : impl_(std::make_unique<Impl>(file, sampling_rate, type)) {}
AudioWriter::~AudioWriter() = default;
AudioWriter::AudioWriter(AudioWriter&&) noexcept = default;
AudioWriter& AudioWriter::operator=(AudioWriter&&) noexcept = default;

void AudioWriter::Write(std::span<const float> samples) { impl_->Write(samples); }
void AudioWriter::Commit() { impl_->Commit(); }
int64_t AudioWriter::num_samples() const { return impl_->num_samples; }
int64_t AudioWriter::num_saturated() const { return impl_->num_saturated; }

int64_t WriteAudio(const std::filesystem::path& file, std::span<const float> samples,
                   int sampling_rate, std::optional<SampleType> type) {
  AudioWriter writer(file, sampling_rate, type);
  writer.Write(samples);
  writer.Commit();
  return writer.num_saturated();
}

}  // namespace csm::audio

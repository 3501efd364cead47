#include "audio/audio_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include "audio/audio_writer.h"
#include "audio/resampler.h"
#include "audio/test_signal.h"
#include "audio/wav_header.h"
#include "base/atomic_file.h"

// libsndfile 1.2.0 forgets 6 KB of each damaged Ogg Vorbis file that it refuses to open.
// Exported, because the sanitizer looks it up from its own library.
extern "C" CSM_EXPORT const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libvorbis\n"; }

namespace csm::audio {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// A wav file in memory with any claims in its header.
struct WavClaims {
  uint16_t format = 3;  // float
  uint16_t channels = 1;
  uint32_t sampling_rate = 24000;
  uint16_t block = 4;
  uint16_t bits = 32;
  uint32_t data_bytes = 0;
};

template <typename T>
void Put(T value, std::string* bytes) {
  for (size_t i = 0; i < sizeof(T); ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

std::string Wav(const WavClaims& claims, std::span<const float> samples) {
  std::string data;
  AppendSamples(samples, SampleType::kFloat, &data);
  std::string format;
  Put(claims.format, &format);
  Put(claims.channels, &format);
  Put(claims.sampling_rate, &format);
  Put(claims.sampling_rate * claims.block, &format);
  Put(claims.block, &format);
  Put(claims.bits, &format);
  std::string bytes = "RIFF";
  Put(static_cast<uint32_t>(36 + data.size()), &bytes);
  bytes += "WAVEfmt ";
  Put(uint32_t{16}, &bytes);
  bytes += format + "data";
  Put(claims.data_bytes != 0 ? claims.data_bytes : static_cast<uint32_t>(data.size()), &bytes);
  return bytes + data;
}

std::vector<float> ReadAll(AudioReader reader) {
  std::vector<float> all;
  for (auto chunk = reader.ReadChunk(); !chunk.empty(); chunk = reader.ReadChunk()) {
    all.insert(all.end(), chunk.begin(), chunk.end());
  }
  EXPECT_TRUE(reader.ReadChunk().empty());  // and stays at the end
  return all;
}

std::vector<float> ReadBytes(const std::string& bytes, int sampling_rate = 0) {
  return ReadAll(AudioReader(std::as_bytes(std::span(bytes)), "upload", sampling_rate));
}

TEST(AudioReader, FloatSamplesComeBackAsTheyAre) {
  const std::vector<float> samples = {0.0f, 1.5f, -3.25f, 1e-30f, -0.0f};
  EXPECT_EQ(ReadBytes(Wav({}, samples)), samples);
}

TEST(AudioReader, AveragesChannels) {
  const std::vector<float> interleaved = {1.0f, 0.5f, 0.3f, -1.0f, 0.25f, 0.0f};
  const auto mono = ReadBytes(Wav({.channels = 3, .block = 12}, interleaved));
  const std::vector<float> expected = {(1.0f + 0.5f + 0.3f) / 3.0f, (-1.0f + 0.25f + 0.0f) / 3.0f};
  EXPECT_EQ(mono, expected);
}

TEST(AudioReader, ResamplesAsTheResamplerDoes) {
  const auto samples = Sine(100000, 440, 44100);
  EXPECT_EQ(ReadBytes(Wav({.sampling_rate = 44100}, samples), 24000),
            Resample(samples, 44100, 24000));
}

TEST(AudioReader, TellsWhatTheFileIs) {
  const std::string bytes =
      Wav({.channels = 2, .sampling_rate = 48000, .block = 8}, std::vector<float>(2000));
  const AudioReader reader(std::as_bytes(std::span(bytes)), "upload", 24000);
  EXPECT_EQ(reader.sampling_rate(), 24000);
  EXPECT_EQ(reader.file_sampling_rate(), 48000);
  EXPECT_EQ(reader.num_channels(), 2);
  EXPECT_EQ(reader.claimed_num_samples(), 500);
}

TEST(AudioReader, ReadsEveryFormatThatIsWritten) {
  const TemporaryFolder folder;
  const auto samples = Sine(48000, 440, 24000);
  for (const std::string name : {"a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"}) {
    WriteAudio(folder / name, samples, 24000);
    const Waveform read = ReadAudio(folder / name, 24000);
    EXPECT_EQ(read.sampling_rate, 24000);
    // Lossy formats may add a frame of padding, and lossy encoders are free in phase, so compare
    // loudness: a sine of amplitude 0.5 has a mean square of 1/8.
    ASSERT_NEAR(static_cast<double>(read.samples.size()), 48000, 2400) << name;
    double energy = 0;
    for (float x : read.samples) energy += static_cast<double>(x) * x;
    EXPECT_NEAR(energy / 48000, 0.125, 0.005) << name;
  }
}

TEST(AudioReader, ReadsFromAPipe) {
  const TemporaryFolder folder;
  const auto samples = Sine(30000, 440, 24000);
  const std::string bytes = Wav({}, samples);
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(folder / "pipe", std::ios::binary) << bytes; });
  EXPECT_EQ(ReadAudio(folder / "pipe").samples, samples);
  writer.join();
}

TEST(AudioReader, TakesTheUnknownSizesOfStreams) {
  const std::vector<float> samples = {0.5f, 0.25f, -0.5f};
  for (const uint32_t size : {0xFFFFFFFFu, 0x7FFFFFFFu, 0x7FFFF000u + 36}) {
    EXPECT_EQ(ReadBytes(Wav({.data_bytes = size}, samples)), samples) << size;
  }
  std::string stream = WavHeader(24000, SampleType::kPcm16, std::nullopt);
  AppendSamples(samples, SampleType::kPcm16, &stream);
  EXPECT_EQ(ReadBytes(stream), samples);
}

TEST(AudioReader, NamesTheSampleThatIsNotFinite) {
  std::vector<float> samples(50000);
  samples[49001] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT([&] { ReadBytes(Wav({.channels = 2, .block = 8}, samples)); },
              ThrowsMessage<FormatError>(AllOf(HasSubstr("upload"), HasSubstr("not a finite"),
                                               HasSubstr("sample 24500 of channel 1"))));
  samples[49001] = -std::numeric_limits<float>::infinity();
  EXPECT_THROW(ReadBytes(Wav({}, samples)), FormatError);
}

// Finite, but their sum would not be.
TEST(AudioReader, RefusesSamplesThatNoSumCanHold) {
  const std::vector<float> samples(40, 3e38f);
  EXPECT_THAT([&] { ReadBytes(Wav({.channels = 2, .block = 8}, samples)); },
              ThrowsMessage<FormatError>(HasSubstr("too large to be audio: sample 0")));
  const std::vector<float> loud(40, 2e9f);
  EXPECT_EQ(ReadBytes(Wav({}, loud)), loud);
}

TEST(AudioReader, SaysWhenAWavFileIsCutShort) {
  const std::string bytes = Wav({}, Sine(5000, 440, 24000));
  EXPECT_THAT([&] { ReadBytes(bytes.substr(0, bytes.size() / 2)); },
              ThrowsMessage<FormatError>(
                  AllOf(HasSubstr("upload is cut short"), HasSubstr("promises 20000 bytes"))));
}

TEST(AudioReader, SaysWhenAFlacFileIsCutShort) {
  const TemporaryFolder folder;
  WriteAudio(folder / "a.flac", Sine(96000, 440, 24000), 24000);
  const std::string bytes = ReadFile(folder / "a.flac");
  EXPECT_THROW(ReadBytes(bytes.substr(0, bytes.size() / 2)), FormatError);
}

TEST(AudioReader, RefusesAFileWithoutSamples) {
  EXPECT_THAT([] { ReadBytes(Wav({}, {})); }, ThrowsMessage<FormatError>(HasSubstr("upload")));
  EXPECT_THAT([] { ReadBytes(""); }, ThrowsMessage<FormatError>(HasSubstr("0 bytes")));
}

TEST(AudioReader, RefusesAbsurdClaims) {
  const std::vector<float> samples(100);
  EXPECT_THROW(ReadBytes(Wav({.channels = 0}, samples)), FormatError);
  EXPECT_THROW(ReadBytes(Wav({.channels = 65535, .block = 65535}, samples)), FormatError);
  EXPECT_THROW(ReadBytes(Wav({.sampling_rate = 0}, samples)), FormatError);
  EXPECT_THROW(ReadBytes(Wav({.sampling_rate = 1}, samples)), FormatError);
  EXPECT_THROW(ReadBytes(Wav({.sampling_rate = 0xFFFFFFFF}, samples)), FormatError);
  EXPECT_THROW(ReadBytes(Wav({.block = 0, .bits = 0}, samples)), FormatError);
  EXPECT_THROW(ReadBytes(Wav({.format = 0x7777}, samples)), FormatError);
}

TEST(AudioReader, SaysWhichFormatsAreRead) {
  EXPECT_THAT([] { ReadBytes("this is a text file, whatever its name may claim"); },
              ThrowsMessage<FormatError>(AllOf(HasSubstr("upload"), HasSubstr("flac"))));
}

TEST(AudioReader, AMissingFileIsAFileError) {
  EXPECT_THAT([] { ReadAudio("/nonexistent/a.wav"); },
              ThrowsMessage<FileError>(HasSubstr("/nonexistent/a.wav")));
  EXPECT_THROW(ReadAudio("/"), FileError);
}

TEST(AudioReader, EveryCutOfEveryFormatIsReadOrRefused) {
  const TemporaryFolder folder;
  for (const std::string name : {"a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"}) {
    WriteAudio(folder / name, Sine(4800, 440, 24000), 24000);
    const std::string bytes = ReadFile(folder / name);
    int num_refused = 0;
    for (size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 40) {
      try {
        EXPECT_FALSE(ReadBytes(bytes.substr(0, length), 16000).empty()) << name << " " << length;
      } catch (const FormatError& error) {
        EXPECT_THAT(error.what(), HasSubstr("upload"));
        ++num_refused;
      }
    }
    EXPECT_GT(num_refused, 0) << name;
  }
}

}  // namespace
}  // namespace csm::audio

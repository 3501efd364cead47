#include "audio/audio_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "audio/audio_file.h"
#include "audio/test_signal.h"
#include "base/atomic_file.h"

namespace csm::audio {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

bool IsEmpty(const TemporaryFolder& folder) { return std::filesystem::is_empty(folder.path()); }

std::string SamplesOf(const std::filesystem::path& wav) {
  const std::string bytes = ReadFile(wav);
  return bytes.substr(bytes.find("data") + 8);
}

TEST(AudioWriter, FloatKeepsEveryBit) {
  const TemporaryFolder folder;
  const std::vector<float> samples = {0.1f, 1.5f, -7.0f, 1e-20f, -1.0f};
  EXPECT_EQ(WriteAudio(folder / "a.wav", samples, 24000, SampleType::kFloat), 0);
  EXPECT_EQ(ReadAudio(folder / "a.wav").samples, samples);
}

// What libsndfile writes is AppendSamples, so that files and streams agree.
TEST(AudioWriter, WavSamplesAreThoseOfAppendSamples) {
  const TemporaryFolder folder;
  std::vector<float> samples = {0.0f,          1.0f,         -1.0f,    1.5f,
                                -1.5f,         0.5f / 32768, -0.0f,    0.9f / 32768,
                                -0.1f / 32768, 0.999999f,    -0.99999f};
  for (int i = -40000; i < 40000; i += 7) samples.push_back(static_cast<float>(i) / 33333.3f);
  for (const SampleType type : {SampleType::kPcm16, SampleType::kPcm24, SampleType::kFloat}) {
    WriteAudio(folder / "a.wav", samples, 24000, type);
    std::string expected;
    AppendSamples(samples, type, &expected);
    EXPECT_EQ(SamplesOf(folder / "a.wav"), expected) << SampleTypeName(type);
  }
}

TEST(AudioWriter, Pcm16RoundsDownAndSaturates) {
  std::string bytes;
  AppendSamples(std::vector<float>{0.99f / 32768, -0.01f / 32768, 1.0f, -2.0f, 0.5f},
                SampleType::kPcm16, &bytes);
  EXPECT_EQ(bytes, std::string("\x00\x00\xff\xff\xff\x7f\x00\x80\x00\x40", 10));
}

TEST(AudioWriter, FlacRoundsToTheNearest) {
  const TemporaryFolder folder;
  WriteAudio(folder / "a.flac", std::vector<float>{0.9f / 32768, -0.1f / 32768, 3.0f}, 24000);
  EXPECT_EQ(ReadAudio(folder / "a.flac").samples,
            (std::vector<float>{1.0f / 32768, 0.0f, 32767.0f / 32768}));
}

TEST(AudioWriter, CountsSaturatedSamples) {
  const TemporaryFolder folder;
  std::vector<float> samples = Sine(24000, 440, 24000);
  samples[10] = 1.01f;
  samples[11] = -1.01f;
  samples[12] = 1.0f;
  samples[13] = -1.0f;
  for (const std::string name : {"a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"}) {
    EXPECT_EQ(WriteAudio(folder / name, samples, 24000), 2) << name;
  }
  EXPECT_EQ(WriteAudio(folder / "b.wav", samples, 24000, SampleType::kPcm24), 2);
  EXPECT_EQ(WriteAudio(folder / "b.wav", samples, 24000, SampleType::kFloat), 0);
}

TEST(AudioWriter, TheSameAudioGivesTheSameFile) {
  const TemporaryFolder folder;
  const auto samples = Sine(5000, 440, 24000);
  for (const std::string extension : {".wav", ".flac", ".mp3"}) {
    WriteAudio(folder / ("a" + extension), samples, 24000);
    AudioWriter pieces(folder / ("b" + extension), 24000);
    for (size_t t = 0; t < samples.size(); t += 999) {
      pieces.Write(std::span(samples).subspan(t, std::min<size_t>(999, samples.size() - t)));
    }
    pieces.Commit();
    EXPECT_EQ(ReadFile(folder / ("a" + extension)), ReadFile(folder / ("b" + extension)));
  }
}

TEST(AudioWriter, WritesMinutesOfVorbisAtOnce) {
  const TemporaryFolder folder;
  WriteAudio(folder / "a.ogg", std::vector<float>(5 * 60 * 8000), 8000);
  EXPECT_EQ(ReadAudio(folder / "a.ogg").samples.size(), 5u * 60 * 8000);
}

TEST(AudioWriter, WithoutCommitThereIsNoFile) {
  const TemporaryFolder folder;
  {
    AudioWriter writer(folder / "a.wav", 24000);
    writer.Write(Sine(5000, 440, 24000));
  }
  EXPECT_TRUE(IsEmpty(folder));
}

TEST(AudioWriter, NothingIsAFileWithoutSamples) {
  const TemporaryFolder folder;
  WriteAudio(folder / "a.wav", {}, 24000);
  EXPECT_EQ(SamplesOf(folder / "a.wav"), "");
}

TEST(AudioWriter, RefusesWhatTheFormatCannotHold) {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, std::optional<SampleType> type, int rate) {
    return [&folder, name, type, rate] { AudioWriter(folder / name, rate, type); };
  };
  EXPECT_THAT(write("a.txt", {}, 24000),
              ThrowsMessage<ArgumentError>(AllOf(HasSubstr("a.txt"), HasSubstr(".flac"))));
  EXPECT_THAT(write("a", {}, 24000), ThrowsMessage<ArgumentError>(HasSubstr(".wav")));
  EXPECT_THAT(write("a.flac", SampleType::kFloat, 24000),
              ThrowsMessage<ArgumentError>(HasSubstr("FLOAT")));
  EXPECT_THAT(write("a.mp3", SampleType::kPcm16, 24000),
              ThrowsMessage<ArgumentError>(HasSubstr("lossy")));
  EXPECT_THAT(write("a.opus", {}, 44100), ThrowsMessage<ArgumentError>(HasSubstr("44100 Hz")));
  EXPECT_THAT(write("a.wav", {}, 0), ThrowsMessage<ArgumentError>(HasSubstr("0 Hz")));
  EXPECT_TRUE(IsEmpty(folder));
}

TEST(AudioWriter, RefusesSamplesThatAreNotFinite) {
  const TemporaryFolder folder;
  std::vector<float> samples(100);
  samples[42] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT([&] { WriteAudio(folder / "a.wav", samples, 24000); },
              ThrowsMessage<ArgumentError>(HasSubstr("sample 42 ")));
  EXPECT_TRUE(IsEmpty(folder));
}

TEST(AudioWriter, AMissingFolderIsAFileError) {
  EXPECT_THAT([] { WriteAudio("/nonexistent/a.wav", {}, 24000); },
              ThrowsMessage<FileError>(HasSubstr("/nonexistent/a.wav")));
}

// A limit on the size of files stands for a full disk.
TEST(AudioWriter, AFullDiskLeavesNoFile) {
  const TemporaryFolder folder;
  rlimit previous;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &previous), 0);
  const auto previous_handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, previous.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::vector<float> noise(200000);  // does not compress into 4 KiB
  uint32_t state = 1;
  for (float& x : noise) {
    state = state * 1664525 + 1013904223;
    x = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-32f;
  }
  for (const std::string name : {"a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3"}) {
    EXPECT_THAT([&] { WriteAudio(folder / name, noise, 24000); },
                ThrowsMessage<FileError>(AllOf(HasSubstr(name), HasSubstr("File too large"))));
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &previous), 0);
  signal(SIGXFSZ, previous_handler);
  EXPECT_TRUE(IsEmpty(folder));
}

TEST(SampleType, ParsesTheNames) {
  EXPECT_EQ(ParseSampleType("PCM_24"), SampleType::kPcm24);
  EXPECT_THAT([] { ParseSampleType("pcm"); },
              ThrowsMessage<ArgumentError>(AllOf(HasSubstr("\"pcm\""), HasSubstr("PCM_16"))));
}

}  // namespace
}  // namespace csm::audio

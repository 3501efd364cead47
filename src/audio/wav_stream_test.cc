#include "audio/wav_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>

#include "audio/audio_file.h"
#include "audio/test_signal.h"
#include "base/atomic_file.h"
#include "csm/csm.hpp"

namespace csm::audio {
namespace {

struct Pipe {
  Pipe() { EXPECT_EQ(pipe(ends), 0); }
  ~Pipe() {
    CloseReader();
    close(ends[1]);
  }
  void CloseReader() {
    if (ends[0] >= 0) close(ends[0]);
    ends[0] = -1;
  }
  std::string ReadAvailable() {
    std::string bytes(1 << 16, '\0');
    const ssize_t count = read(ends[0], bytes.data(), bytes.size());
    bytes.resize(count > 0 ? static_cast<size_t>(count) : 0);
    return bytes;
  }
  int ends[2];
};

std::vector<float> Parse(const std::string& bytes) {
  AudioReader reader(std::as_bytes(std::span(bytes)), "stream");
  const auto chunk = reader.ReadChunk();
  return {chunk.begin(), chunk.end()};
}

TEST(WavStream, IsPlayableBeforeItEnds) {
  const std::vector<float> samples = {0.5f, -0.25f, 0.125f};
  for (const SampleType type : {SampleType::kPcm16, SampleType::kPcm24, SampleType::kFloat}) {
    Pipe pipe;
    WavStream stream(pipe.ends[1], 24000, type);
    ASSERT_TRUE(stream.Write(samples));
    const std::string bytes = pipe.ReadAvailable();
    EXPECT_EQ(Parse(bytes), samples) << SampleTypeName(type);
    ASSERT_TRUE(stream.Finish());
    // The stream itself ends with its last sample: sizes cannot be entered any more.
    ASSERT_TRUE(stream.Write(samples));
    EXPECT_EQ(pipe.ReadAvailable().size(), 3u * static_cast<size_t>(BytesPerSample(type)));
  }
}

TEST(WavStream, EntersTheSizesInAFile) {
  const TemporaryFolder folder;
  const std::vector<float> samples = {0.5f, -0.25f, 0.125f};
  for (const SampleType type : {SampleType::kPcm16, SampleType::kPcm24, SampleType::kFloat}) {
    const int fd = open((folder / "a.wav").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    WavStream stream(fd, 24000, type);
    ASSERT_TRUE(stream.Write(samples));
    ASSERT_TRUE(stream.Finish());
    close(fd);
    const std::string bytes = ReadFile(folder / "a.wav");
    EXPECT_EQ(Parse(bytes), samples);
    EXPECT_EQ(bytes.size() % 2, 0u);
    // RIFF's size is that of all that follows it.
    const auto* size = reinterpret_cast<const unsigned char*>(bytes.data() + 4);
    EXPECT_EQ(size[0] + 256u * size[1] + 65536u * size[2], bytes.size() - 8)
        << SampleTypeName(type);
  }
}

TEST(WavStream, AStreamWithoutSamplesHasAHeader) {
  Pipe pipe;
  WavStream stream(pipe.ends[1], 24000);
  ASSERT_TRUE(stream.Finish());
  EXPECT_EQ(pipe.ReadAvailable().size(), 44u);
}

// SIGPIPE would end this program.
TEST(WavStream, AReaderThatLeavesIsAResult) {
  Pipe pipe;
  WavStream stream(pipe.ends[1], 24000);
  ASSERT_TRUE(stream.Write(std::vector<float>(10)));
  pipe.CloseReader();
  EXPECT_FALSE(stream.Write(std::vector<float>(10)));
  EXPECT_FALSE(stream.Write(std::vector<float>(10)));
}

TEST(WavStream, OtherFailuresAreErrors) {
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  WavStream stream(full, 24000);
  EXPECT_THROW((void)stream.Write(std::vector<float>(10)), FileError);
  close(full);
}

TEST(WavStream, RefusesSamplesThatAreNotFiniteAndCountsSaturatedOnes) {
  Pipe pipe;
  WavStream stream(pipe.ends[1], 24000);
  ASSERT_TRUE(stream.Write(std::vector<float>{2.0f, -1.5f, 1.0f}));
  EXPECT_EQ(stream.num_saturated(), 2);
  EXPECT_EQ(stream.num_samples(), 3);
  EXPECT_THROW((void)stream.Write(std::vector<float>{std::numeric_limits<float>::infinity()}),
               ArgumentError);
}

}  // namespace
}  // namespace csm::audio

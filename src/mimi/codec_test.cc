#include "mimi/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "checkpoint/tensor_store.h"

namespace csm {
namespace {

using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;
using ::testing::ThrowsMessage;

std::filesystem::path CaseDir(const std::string& name) {
  return std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens" / "mimi" / name;
}

std::shared_ptr<const MimiModel::Impl> Load(const std::string& name) {
  return mimi::LoadMimi(checkpoint::OpenMimiCheckpoint(CaseDir(name)), Runtime(2));
}

std::vector<float> RandomSamples(size_t n) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> samples(n);
  for (float& sample : samples) sample = normal(random);
  return samples;
}

Codes RandomCodes(const MimiConfig& config, int num_frames, int num_codebooks) {
  std::mt19937 random(4);
  Codes codes{.num_codebooks = num_codebooks};
  for (int i = 0; i < num_frames * num_codebooks; ++i) {
    codes.data.push_back(
        static_cast<int32_t>(random() % static_cast<uint64_t>(config.codebook_size)));
  }
  return codes;
}

Codes Frames(const Codes& codes, int first, int count) {
  const auto begin = codes.data.begin() + first * codes.num_codebooks;
  return {codes.num_codebooks, {begin, begin + count * codes.num_codebooks}};
}

// What transformers computed, made by tools/make_mimi_goldens.py.
class GoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  std::vector<float> Expected(const std::string& name) const {
    const checkpoint::TensorView* tensor = expected_->Find(name);
    if (tensor == nullptr) throw FormatError("no tensor " + name);
    std::vector<float> values(tensor->bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor->bytes.data(), tensor->bytes.size());
    return values;
  }
  Codes ExpectedCodes(const std::string& name) const {
    Codes codes{.num_codebooks = static_cast<int>(expected_->Find(name)->shape[1])};
    for (const float code : Expected(name)) codes.data.push_back(static_cast<int32_t>(code));
    return codes;
  }

  std::shared_ptr<const MimiModel::Impl> impl_ = Load(GetParam());
  MimiModel model_{impl_};
  std::shared_ptr<const checkpoint::TensorStore> expected_ =
      checkpoint::OpenTensors(CaseDir(GetParam()) / "expected");
};

TEST_P(GoldenTest, EncodesAsTransformersDoes) {
  int num_cases = 0;
  for (const std::string& name : expected_->Names()) {
    if (!name.starts_with("encode.") || !name.ends_with(".samples")) continue;
    SCOPED_TRACE(name);
    ++num_cases;
    const std::string stem = name.substr(0, name.size() - std::string("samples").size());
    const std::vector<float> samples = Expected(name);
    mimi::LatentEncoder encoder(*impl_);
    mimi::Rows latents(static_cast<size_t>(impl_->config.hidden_size));
    encoder.Step(samples, /*is_end=*/true, latents);
    EXPECT_THAT(std::vector<float>(latents.data(), latents.row(latents.size())),
                Pointwise(FloatNear(1e-4F), Expected(stem + "latents")));

    const Codes codes = model_.encode(samples);
    EXPECT_EQ(codes, ExpectedCodes(stem + "codes"));
    const Codes two = model_.encode(samples, 2);
    ASSERT_EQ(two.num_frames(), codes.num_frames());
    for (int t = 0; t < codes.num_frames(); ++t) {
      EXPECT_TRUE(std::ranges::equal(two.frame(t), codes.frame(t).first(2)));
    }
  }
  EXPECT_EQ(num_cases, 5);
}

TEST_P(GoldenTest, DecodesAsTransformersDoes) {
  for (int64_t k = 1; k <= impl_->config.num_quantizers; ++k) {
    const std::string stem = "decode." + std::to_string(k) + ".";
    const std::vector<float> expected = Expected(stem + "samples");
    float peak = 1;
    for (const float sample : expected) peak = std::max(peak, std::abs(sample));
    EXPECT_THAT(model_.decode(ExpectedCodes(stem + "codes")),
                Pointwise(FloatNear(1e-4F * peak), expected));
  }
}

TEST_P(GoldenTest, EncodingInPiecesGivesTheBitsOfTheWhole) {
  const auto frame_size = static_cast<size_t>(impl_->config.frame_size());
  const size_t piece = mimi::kFramesPerPiece * frame_size;
  std::mt19937 random(6);
  for (const size_t num_samples : {size_t{1}, frame_size - 1, frame_size, frame_size + 1, piece - 1,
                                   piece + 1, size_t{20001}}) {
    SCOPED_TRACE(num_samples);
    const std::vector<float> samples = RandomSamples(num_samples);
    const Codes whole = model_.encode(samples);
    EXPECT_EQ(static_cast<size_t>(whole.num_frames()), (num_samples + frame_size - 1) / frame_size);
    for (const size_t largest : {size_t{1}, size_t{7}, frame_size, size_t{5000}}) {
      if (largest == 1 && num_samples > 5000) continue;
      mimi::LatentEncoder whole_latents(*impl_), piece_latents(*impl_);
      MimiModel::Encoder encoder(model_);
      mimi::Rows a(static_cast<size_t>(impl_->config.hidden_size));
      mimi::Rows b(a.channels());
      Codes codes{.num_codebooks = whole.num_codebooks};
      const auto add = [&](const Codes& more) {
        codes.data.insert(codes.data.end(), more.data.begin(), more.data.end());
      };
      for (size_t i = 0; i < num_samples;) {
        const size_t n = std::min<size_t>(1 + random() % largest, num_samples - i);
        const std::span<const float> part(samples.data() + i, n);
        add(encoder.push(part));
        piece_latents.Step(part, /*is_end=*/false, b);
        i += n;
      }
      add(encoder.finish());
      piece_latents.Step({}, /*is_end=*/true, b);
      whole_latents.Step(samples, /*is_end=*/true, a);
      EXPECT_EQ(codes, whole) << "pieces of up to " << largest;
      EXPECT_EQ(std::vector<float>(a.data(), a.row(a.size())),
                std::vector<float>(b.data(), b.row(b.size())));
    }
  }
}

TEST_P(GoldenTest, DecodingInPiecesGivesTheBitsOfTheWhole) {
  std::mt19937 random(8);
  for (const int num_frames : {1, 2, 31, 32, 33, 150}) {
    const Codes codes = RandomCodes(impl_->config, num_frames, 3);
    const std::vector<float> whole = model_.decode(codes);
    EXPECT_EQ(static_cast<int64_t>(whole.size()), num_frames * impl_->config.frame_size());
    for (const int largest : {1, 5, 64}) {
      MimiModel::Decoder decoder(model_);
      std::vector<float> samples;
      for (int t = 0; t < num_frames;) {
        const int n = std::min(1 + static_cast<int>(random() % static_cast<uint64_t>(largest)),
                               num_frames - t);
        const std::vector<float> more = decoder.push(Frames(codes, t, n));
        samples.insert(samples.end(), more.begin(), more.end());
        t += n;
      }
      EXPECT_EQ(samples, whole) << num_frames << " frames in pieces of up to " << largest;
    }
  }
}

// Streams that join at different times, some of them in steps of their own.
TEST_P(GoldenTest, StreamsThatStepTogetherHaveTheBitsOfEachAlone) {
  constexpr int kStreams = 5, kFrames = 40;
  const auto frame_size = static_cast<size_t>(impl_->config.frame_size());
  std::mt19937 random(9);
  for (const int num_frames : {1, 3, 20}) {  // a step
    SCOPED_TRACE(num_frames);
    std::vector<Codes> codes;
    std::vector<std::vector<float>> audio(kStreams);
    std::vector<mimi::DecoderState> states(kStreams, mimi::DecoderState(*impl_));
    const Codes all = RandomCodes(impl_->config, kStreams * kFrames, 3);
    for (int s = 0; s < kStreams; ++s) codes.push_back(Frames(all, s * kFrames, kFrames));
    mimi::StreamDecoder decoder(*impl_);
    std::vector<int> done(kStreams);
    for (;;) {
      std::vector<mimi::DecoderState*> active;
      std::vector<int32_t> step;
      std::vector<size_t> members;
      for (size_t s = 0; s < kStreams; ++s) {
        if (done[s] + num_frames > kFrames || random() % 3 == 0) continue;
        active.push_back(&states[s]);
        members.push_back(s);
        const Codes more = Frames(codes[s], done[s], num_frames);
        step.insert(step.end(), more.data.begin(), more.data.end());
        done[s] += num_frames;
      }
      if (active.empty() &&
          std::ranges::all_of(done, [&](int n) { return n + num_frames > kFrames; })) {
        break;
      }
      std::vector<float> samples(active.size() * static_cast<size_t>(num_frames) * frame_size);
      decoder.Step(active, step.data(), static_cast<size_t>(num_frames),
                   static_cast<size_t>(codes[0].num_codebooks), samples.data());
      const size_t each = static_cast<size_t>(num_frames) * frame_size;
      for (size_t i = 0; i < members.size(); ++i) {
        const auto first = samples.begin() + static_cast<ptrdiff_t>(i * each);
        audio[members[i]].insert(audio[members[i]].end(), first,
                                 first + static_cast<ptrdiff_t>(each));
      }
    }
    for (size_t s = 0; s < kStreams; ++s) {
      EXPECT_EQ(audio[s], model_.decode(Frames(codes[s], 0, done[s]))) << "stream " << s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, GoldenTest, ::testing::Values("residual", "shortcut", "replicate"),
                         [](const auto& test) { return std::string(test.param); });

TEST(CodecTest, TheNumberOfThreadsDoesNotChangeABit) {
  const auto checkpoint = checkpoint::OpenMimiCheckpoint(CaseDir("residual"));
  const std::vector<float> samples = RandomSamples(3001);
  const MimiModel one(mimi::LoadMimi(checkpoint, Runtime(1)));
  const MimiModel three(mimi::LoadMimi(checkpoint, Runtime(3)));
  const Codes codes = one.encode(samples);
  EXPECT_EQ(three.encode(samples), codes);
  EXPECT_EQ(three.decode(codes), one.decode(codes));
}

TEST(CodecTest, StreamsOfOneModelMayRunAtTheSameTime) {
  const MimiModel model(Load("residual"));
  const std::vector<float> samples = RandomSamples(2000);
  const Codes codes = model.encode(samples);
  const std::vector<float> audio = model.decode(codes);
  std::vector<std::thread> threads;
  std::vector<int> num_equal(4);
  for (int& count : num_equal) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) count += model.encode(samples) == codes;
      for (int i = 0; i < 3; ++i) count += model.decode(codes) == audio;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(num_equal, ::testing::Each(6));
}

TEST(CodecTest, NoSamplesAreNoFramesAndNoFramesNoSamples) {
  const MimiModel model(Load("residual"));
  EXPECT_EQ(model.encode({}).num_frames(), 0);
  EXPECT_EQ(model.encode({}).num_codebooks, 4);
  EXPECT_TRUE(model.decode(Codes{}).empty());
  MimiModel::Encoder encoder(model);
  EXPECT_EQ(encoder.push({}).num_frames(), 0);
  EXPECT_EQ(encoder.finish().num_frames(), 0);
  EXPECT_EQ(encoder.finish().num_frames(), 0);
}

TEST(CodecTest, RefusesCodesOutOfRangeAndGoesOn) {
  const MimiModel model(Load("residual"));
  const Codes codes = RandomCodes(model.config(), 6, 4);
  MimiModel::Decoder decoder(model);
  std::vector<float> samples = decoder.push(Frames(codes, 0, 2));
  for (const int32_t bad : {-1, 16, 2050}) {
    Codes wrong = Frames(codes, 2, 4);
    wrong.data[4 * 3 + 1] = bad;
    EXPECT_THAT([&] { decoder.push(wrong); },
                ThrowsMessage<ArgumentError>(HasSubstr("frame 5, codebook 1 has code " +
                                                       std::to_string(bad) +
                                                       "; the codec's codes are 0 to 15")));
  }
  const std::vector<float> more = decoder.push(Frames(codes, 2, 4));
  samples.insert(samples.end(), more.begin(), more.end());
  EXPECT_EQ(samples, model.decode(codes));
}

TEST(CodecTest, RefusesWrongNumbersOfCodebooks) {
  const MimiModel model(Load("residual"));
  EXPECT_THAT([&] { model.decode(RandomCodes(model.config(), 1, 5)); },
              ThrowsMessage<ArgumentError>(HasSubstr("5 codebooks; the codec decodes 1 to 4")));
  EXPECT_THAT(
      [&] {
        model.decode({0, {1, 2}});
      },
      ThrowsMessage<ArgumentError>(HasSubstr("0 codebooks")));
  EXPECT_THAT(
      [&] {
        model.decode({3, {1, 2, 3, 4}});
      },
      ThrowsMessage<ArgumentError>(HasSubstr("4 codes")));
  for (const int bad : {-1, 5}) {
    EXPECT_THAT([&] { model.encode({}, bad); },
                ThrowsMessage<ArgumentError>(HasSubstr("num_codebooks is " + std::to_string(bad))));
  }
}

TEST(CodecTest, AFinishedEncoderTakesNoMoreSamples) {
  const MimiModel model(Load("residual"));
  MimiModel::Encoder encoder(model);
  encoder.finish();
  EXPECT_THAT([&] { encoder.push(RandomSamples(1)); },
              ThrowsMessage<ArgumentError>(HasSubstr("after finish()")));
}

TEST(CodecTest, SamplesThatAreNotNumbersAreRefused) {
  const MimiModel model(Load("residual"));
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> samples = RandomSamples(100);
    samples[10] = bad;
    EXPECT_THAT([&] { model.encode(samples); }, ThrowsMessage<Error>(HasSubstr("not sound")));
  }
}

}  // namespace
}  // namespace csm

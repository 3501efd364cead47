// What a device speaks is what the engine's own kernels speak: every golden checkpoint, in f32, on
// LibTorch's processor.
#include "torch/device_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <thread>

#include "base/json.h"
#include "engine/csm_model.h"
#include "engine/golden_case.h"

namespace csm::train {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
// Not csm::train's, which is the module.
using Model = csm::CsmForConditionalGeneration;

// CSM_TEST_DEVICE=cuda: all of this on a GPU.
LoadOptions OnDevice() {
  const char* device = std::getenv("CSM_TEST_DEVICE");
  return {.dtype = DType::kF32,
          .runtime = Runtime(1),
          .device = device == nullptr ? "torch-cpu" : device};
}

Model LoadOnDevice(const std::filesystem::path& dir) {
  auto checkpoint = checkpoint::OpenCsmCheckpoint(dir);
  auto device = std::make_shared<const TorchDeviceModel>(checkpoint, OnDevice());
  return engine::LoadModel(std::move(checkpoint), {.runtime = Runtime(1)}, std::move(device));
}

Model LoadOnKernels(const std::filesystem::path& dir) {
  return Model::from_pretrained(dir, {.runtime = Runtime(1)});
}

CsmInputs InputsOf(const engine::GoldenCase& golden) {
  return CsmProcessor::from_pretrained(golden.model_dir)
      .apply_chat_template(load_conversations(golden.dir() / "conversation.json"));
}

void ExpectSame(const CsmGenerateOutput& actual, const CsmGenerateOutput& expected) {
  EXPECT_EQ(actual.sequences, expected.sequences);
  EXPECT_EQ(actual.finish_reason, expected.finish_reason);
  ASSERT_EQ(actual.audio.size(), expected.audio.size());
  for (size_t s = 0; s < actual.audio.size(); ++s) {
    ASSERT_EQ(actual.audio[s].size(), expected.audio[s].size());
    float peak = 1;
    for (const float sample : expected.audio[s]) peak = std::max(peak, std::abs(sample));
    for (size_t i = 0; i < actual.audio[s].size(); ++i) {
      ASSERT_NEAR(actual.audio[s][i], expected.audio[s][i], 1e-4 * peak) << s << ", sample " << i;
    }
  }
}

TEST(DeviceModelTest, SpeaksAsTheKernelsDo) {
  int compared = 0;
  for (const engine::GoldenCase& golden : engine::AllGoldenCases()) {
    if (!std::filesystem::exists(golden.dir() / "conversation.json")) continue;
    SCOPED_TRACE(golden.Name());
    const Model device = LoadOnDevice(golden.model_dir), kernels = LoadOnKernels(golden.model_dir);
    const CsmInputs inputs = InputsOf(golden);
    const GenerationConfig greedy = engine::Greedy(device, 6);
    ExpectSame(device.generate(inputs, greedy), kernels.generate(inputs, greedy));
    const GenerationConfig sampling = engine::Sampling(device, 6);
    ExpectSame(device.generate(inputs, sampling), kernels.generate(inputs, sampling));
    ++compared;
  }
  EXPECT_GE(compared, 10);
}

class RandomTinyTest : public ::testing::Test {
 protected:
  const std::filesystem::path dir_ = engine::GoldenModel("random-tiny");
  const Model device_ = LoadOnDevice(dir_), kernels_ = LoadOnKernels(dir_);
  const CsmInputs inputs_ = InputsOf({dir_, "batch"});
};

TEST_F(RandomTinyTest, TheSameAgainAndAfterOthers) {
  const GenerationConfig config = engine::Sampling(device_, 8);
  const CsmGenerateOutput expected = kernels_.generate(inputs_, config);
  for (int i = 0; i < 2; ++i) {
    ExpectSame(device_.generate(inputs_, config), expected);
    device_.generate(InputsOf({dir_, "plain"}), config);
  }
}

TEST_F(RandomTinyTest, EachPromptSeveralTimes) {
  GenerationConfig config = engine::Sampling(device_, 5);
  config.num_return_sequences = 3;
  ExpectSame(device_.generate(inputs_, config), kernels_.generate(inputs_, config));
}

TEST_F(RandomTinyTest, LogitsMayBeSeenAndChanged) {
  GenerationConfig config = engine::Sampling(device_, 5);
  config.output_logits = config.output_scores = true;
  GenerateCallbacks callbacks;
  callbacks.logits_processor = [](int, int frame, int codebook, std::span<float> logits) {
    logits[static_cast<size_t>(frame) + static_cast<size_t>(codebook)] =
        -std::numeric_limits<float>::infinity();
  };
  const CsmGenerateOutput actual = device_.generate(inputs_, config, callbacks);
  const CsmGenerateOutput expected = kernels_.generate(inputs_, config, callbacks);
  ExpectSame(actual, expected);
  ASSERT_EQ(actual.logits.size(), expected.logits.size());
  for (size_t s = 0; s < expected.logits.size(); ++s) {
    ASSERT_EQ(actual.logits[s].data.size(), expected.logits[s].data.size());
    ASSERT_EQ(actual.scores[s].data.size(), expected.scores[s].data.size());
    for (size_t i = 0; i < expected.logits[s].data.size(); ++i) {
      EXPECT_NEAR(actual.logits[s].data[i], expected.logits[s].data[i], 1e-4);
    }
  }
}

TEST_F(RandomTinyTest, AVoiceGoesOn) {
  const auto conversations = load_conversations(dir_ / "context/conversation.json");
  const auto processor = CsmProcessor::from_pretrained(dir_);
  Conversation context = conversations[0];
  const Conversation line = {context.back()};
  context.pop_back();
  const Voice voice = Voice::create(kernels_, processor, context);
  const CsmInputs inputs = voice.apply_chat_template(processor, std::span(&line, 1));
  const GenerationConfig config = engine::Sampling(device_, 5);
  ExpectSame(device_.generate(inputs, config), kernels_.generate(inputs, config));
}

TEST_F(RandomTinyTest, SeveralCallersAtOnce) {
  const GenerationConfig config = engine::Sampling(device_, 5);
  const CsmGenerateOutput expected = kernels_.generate(inputs_, config);
  std::vector<CsmGenerateOutput> outputs(3);
  std::vector<std::thread> callers;
  for (CsmGenerateOutput& output : outputs) {
    callers.emplace_back([&] { output = device_.generate(inputs_, config); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const CsmGenerateOutput& output : outputs) ExpectSame(output, expected);
}

TEST_F(RandomTinyTest, ProgressAndCancelling) {
  const GenerationConfig config = engine::Greedy(device_, 50);
  GenerateCallbacks callbacks;
  int64_t read = 0, all = 0;
  int frames = 0;
  callbacks.on_prefill = [&](int64_t positions, int64_t total) { read = positions, all = total; };
  callbacks.on_frame = [&](int, std::span<const int32_t>) { ++frames; };
  callbacks.is_cancelled = [&] { return frames > 3; };
  const CsmGenerateOutput output = device_.generate(inputs_, config, callbacks);
  EXPECT_EQ(read, all);
  EXPECT_GT(all, 0);
  EXPECT_THAT(output.finish_reason, ::testing::Contains(FinishReason::kCancelled));
}

// A device's memory is used again: what one call leaves must not be in the next.
TEST(DeviceModelTest, ForgetsWhatWasNoNumber) {
  const auto checkpoint = checkpoint::OpenCsmCheckpoint(engine::GoldenModel("random-tiny"));
  const TorchDeviceModel device(checkpoint, OnDevice());
  GenerationConfig config;
  const GenerateCallbacks callbacks;
  const auto frames_of = [&](float value, int64_t positions) {
    const auto stepper = device.NewStepper({config, callbacks, 1, 60});
    Matrix prompt(positions, checkpoint.config.hidden_size);
    for (size_t i = 0; i < prompt.data.size(); ++i) {
      prompt.data[i] = value + static_cast<float>(i % 7);
    }
    engine::Sequence sequence;
    sequence.max_frames = 10;
    sequence.codes.num_codebooks = static_cast<int>(checkpoint.config.num_codebooks);
    engine::Sequence* const sequences[] = {&sequence};
    const Matrix* const prompts[] = {&prompt};
    stepper->Prefill(sequences, prompts, nullptr);
    for (int t = 0; t < 3; ++t) {
      stepper->NextFrame(sequences, {config, callbacks, 1});
      stepper->Advance(sequences);
    }
    return sequence.codes;
  };
  const Codes expected = frames_of(0.5F, 5);
  EXPECT_THAT([&] { frames_of(std::numeric_limits<float>::quiet_NaN(), 50); },
              ThrowsMessage<Error>(HasSubstr("no number")));
  EXPECT_EQ(frames_of(0.5F, 5), expected);
}

TEST(DeviceModelErrors, SayWhatIsThere) {
  const auto checkpoint = checkpoint::OpenCsmCheckpoint(engine::GoldenModel("random-tiny"));
  const auto load = [&](const std::string& device, std::optional<DType> dtype) {
    return [&checkpoint, device, dtype] {
      TorchDeviceModel(checkpoint, {.dtype = dtype, .runtime = Runtime(1), .device = device});
    };
  };
  EXPECT_THAT(load("gpu", {}), ThrowsMessage<ArgumentError>(HasSubstr("cuda:N")));
  EXPECT_THAT(load("torch-cpu", DType::kQ8_0),
              ThrowsMessage<ArgumentError>(HasSubstr("quantized")));
  if (!torch::cuda::is_available()) {
    EXPECT_THAT(load("cuda", {}), ThrowsMessage<Error>(HasSubstr("device cuda: ")));
  }
}

}  // namespace
}  // namespace csm::train

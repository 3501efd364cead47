// What must not change a sequence: neighbours, threads, streaming, caches, chunks. And what
// generate() refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "csm/csm.hpp"
#include "engine/golden_case.h"

namespace csm::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::Throws;
using ::testing::ThrowsMessage;

CsmForConditionalGeneration LoadModel(const std::string& name, int num_threads = 2) {
  return CsmForConditionalGeneration::from_pretrained(GoldenModel(name),
                                                      {.runtime = Runtime(num_threads)});
}

CsmInputs LoadInputs(const std::string& name, const std::string& scenario) {
  const auto processor = CsmProcessor::from_pretrained(GoldenModel(name));
  return processor.apply_chat_template(
      load_conversations(GoldenModel(name) / scenario / "conversation.json"));
}

CsmInputs OneRow(const CsmInputs& inputs, size_t row) {
  CsmInputs result = inputs;
  result.rows = {inputs.rows[row]};
  return result;
}

constexpr int64_t kTinyFrame = 1920;

// Codebook 0 never has the code that all codebooks of an ending frame have.
GenerateCallbacks NeverEnding(const CsmForConditionalGeneration& model) {
  GenerateCallbacks callbacks;
  const auto end = static_cast<size_t>(model.config().codebook_eos_token_id);
  callbacks.logits_processor = [end](int, int, int codebook, std::span<float> logits) {
    if (codebook == 0) logits[end] = -std::numeric_limits<float>::infinity();
  };
  return callbacks;
}

class GenerateTest : public ::testing::Test {
 protected:
  CsmForConditionalGeneration model_ = LoadModel("random-tiny");
  CsmInputs batch_ = LoadInputs("random-tiny", "batch");
  CsmInputs plain_ = LoadInputs("random-tiny", "plain");
};

TEST_F(GenerateTest, RowsDoNotDependOnNeighbours) {
  const auto config = Sampling(model_, 6);
  const auto together = model_.generate(batch_, config);
  for (size_t row = 0; row < batch_.rows.size(); ++row) {
    const auto alone = model_.generate(OneRow(batch_, row), config);
    EXPECT_EQ(alone.sequences[0], together.sequences[row]);
    EXPECT_EQ(alone.audio[0], together.audio[row]);
  }
}

TEST_F(GenerateTest, ThreadsChangeNothing) {
  const auto config = Sampling(model_, 6);
  const auto expected = LoadModel("random-tiny", 1).generate(batch_, config);
  for (const int threads : {2, 3, 5}) {
    const auto output = LoadModel("random-tiny", threads).generate(batch_, config);
    EXPECT_EQ(output.sequences, expected.sequences) << threads;
    EXPECT_EQ(output.audio, expected.audio) << threads;
  }
}

TEST_F(GenerateTest, ConcurrentCallsChangeNothing) {
  const auto config = Sampling(model_, 4);
  const auto expected = model_.generate(batch_, config);
  std::vector<CsmGenerateOutput> outputs(3);
  std::vector<std::thread> callers;
  for (auto& output : outputs) {
    callers.emplace_back([&] { output = model_.generate(batch_, config); });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& output : outputs) {
    EXPECT_EQ(output.sequences, expected.sequences);
    EXPECT_EQ(output.audio, expected.audio);
  }
}

TEST_F(GenerateTest, StreamedAudioHasTheBitsOfTheWhole) {
  const auto config = Sampling(model_, 8);
  const auto whole = model_.generate(batch_, config);
  std::vector<std::vector<float>> streamed(whole.audio.size());
  std::vector<Codes> frames(whole.sequences.size());
  GenerateCallbacks callbacks;
  callbacks.on_audio = [&](int sequence, std::span<const float> samples) {
    EXPECT_EQ(std::ssize(samples), kTinyFrame);
    auto& audio = streamed[static_cast<size_t>(sequence)];
    audio.insert(audio.end(), samples.begin(), samples.end());
  };
  callbacks.on_frame = [&](int sequence, std::span<const int32_t> frame) {
    auto& codes = frames[static_cast<size_t>(sequence)];
    codes.num_codebooks = static_cast<int>(frame.size());
    codes.data.insert(codes.data.end(), frame.begin(), frame.end());
  };
  const auto output = model_.generate(batch_, config, callbacks);
  EXPECT_EQ(streamed, whole.audio);
  EXPECT_EQ(output.audio, whole.audio);
  EXPECT_EQ(frames, whole.sequences);
}

TEST_F(GenerateTest, AudioMayComeSeveralFramesAtATime) {
  const auto config = Sampling(model_, 8);
  const auto whole = model_.generate(plain_, config, NeverEnding(model_));
  ASSERT_EQ(whole.sequences[0].num_frames(), 8);
  for (const auto& [at_once, expected] : std::vector<std::pair<int, std::vector<int64_t>>>{
           {3, {1, 3, 3, 1}}, {7, {1, 7}}, {1000, {1, 7}}, {0, {1, 1, 1, 1, 1, 1, 1, 1}}}) {
    SCOPED_TRACE(at_once);
    std::vector<int64_t> calls;
    std::vector<float> streamed;
    GenerateCallbacks callbacks = NeverEnding(model_);
    callbacks.audio_frames = at_once;
    callbacks.on_audio = [&](int, std::span<const float> samples) {
      calls.push_back(std::ssize(samples) / kTinyFrame);
      streamed.insert(streamed.end(), samples.begin(), samples.end());
    };
    EXPECT_EQ(model_.generate(plain_, config, callbacks).audio, whole.audio);
    EXPECT_EQ(streamed, whole.audio[0]);
    EXPECT_EQ(calls, expected);
  }
}

TEST_F(GenerateTest, AudioThatWaitsComesAtEachSequencesEnd) {
  const auto config = Sampling(model_, 8);  // of which some sequences end by themselves
  const auto whole = model_.generate(batch_, config);
  for (const int at_once : {2, 3, 5}) {
    std::vector<std::vector<float>> streamed(whole.audio.size());
    GenerateCallbacks callbacks;
    callbacks.audio_frames = at_once;
    callbacks.on_audio = [&](int sequence, std::span<const float> samples) {
      auto& audio = streamed[static_cast<size_t>(sequence)];
      audio.insert(audio.end(), samples.begin(), samples.end());
    };
    EXPECT_EQ(model_.generate(batch_, config, callbacks).audio, whole.audio);
    EXPECT_EQ(streamed, whole.audio) << at_once;
  }
}

TEST_F(GenerateTest, CancellingLeavesTheAudioOfAllFramesSoFar) {
  const auto config = Sampling(model_, 8);
  const auto whole = model_.generate(batch_, config, NeverEnding(model_));
  int num_frames = 0;
  GenerateCallbacks callbacks = NeverEnding(model_);
  callbacks.on_frame = [&](int sequence, std::span<const int32_t>) { num_frames += sequence == 0; };
  callbacks.is_cancelled = [&] { return num_frames == 5; };
  const auto output = model_.generate(batch_, config, callbacks);
  for (size_t s = 0; s < output.audio.size(); ++s) {
    ASSERT_EQ(std::ssize(output.audio[s]), 5 * kTinyFrame);
    EXPECT_TRUE(std::equal(output.audio[s].begin(), output.audio[s].end(), whole.audio[s].begin()));
  }
}

TEST_F(GenerateTest, SeedsAndReturnSequences) {
  auto config = Sampling(model_, 6);
  config.num_return_sequences = 3;
  const auto three = model_.generate(plain_, config);
  ASSERT_EQ(three.sequences.size(), 3U);
  EXPECT_NE(three.sequences[0], three.sequences[1]);
  EXPECT_NE(three.sequences[1], three.sequences[2]);
  EXPECT_EQ(model_.generate(plain_, config).sequences, three.sequences);
  config.num_return_sequences = 1;
  EXPECT_EQ(model_.generate(plain_, config).sequences[0], three.sequences[0]);
  // The same prompt twice in a batch is drawn twice.
  CsmInputs twins = plain_;
  twins.rows.push_back(plain_.rows[0]);
  const auto two = model_.generate(twins, config);
  EXPECT_EQ(two.sequences[0], three.sequences[0]);
  EXPECT_NE(two.sequences[1], three.sequences[0]);
  // Without a seed a random one is drawn and reported; it reproduces the call.
  config.seed.reset();
  const auto unseeded = model_.generate(plain_, config);
  config.seed = unseeded.seed;
  EXPECT_EQ(model_.generate(plain_, config).sequences, unseeded.sequences);
}

TEST_F(GenerateTest, ScoresAndLogits) {
  auto config = Sampling(model_, 5);
  config.top_k = 3;
  config.output_scores = config.output_logits = true;
  const auto output = model_.generate(plain_, config);
  const Matrix& scores = output.scores[0];
  const Matrix& logits = output.logits[0];
  ASSERT_EQ(scores.rows, output.sequences[0].num_frames());
  ASSERT_EQ(logits.rows, scores.rows);
  for (int64_t t = 0; t < scores.rows; ++t) {
    const auto row = scores.row(t);
    EXPECT_EQ(std::count_if(row.begin(), row.end(), [](float s) { return std::isfinite(s); }), 3);
    const auto code = static_cast<size_t>(output.sequences[0].frame(static_cast<int>(t))[0]);
    EXPECT_TRUE(std::isfinite(row[code]));
    EXPECT_FLOAT_EQ(row[code], logits.row(t)[code] / static_cast<float>(config.temperature));
  }
}

TEST_F(GenerateTest, LogitsProcessorsSeeEveryCodebook) {
  GenerateCallbacks callbacks;
  callbacks.logits_processor = [](int, int frame, int codebook, std::span<float> logits) {
    std::fill(logits.begin(), logits.end(), -1.0F);
    logits[static_cast<size_t>(10 * frame + codebook + 1)] = 1;
  };
  const auto output = model_.generate(plain_, Greedy(model_, 3), callbacks);
  for (int t = 0; t < 3; ++t) {
    for (int k = 0; k < output.sequences[0].num_codebooks; ++k) {
      EXPECT_EQ(output.sequences[0].frame(t)[static_cast<size_t>(k)], 10 * t + k + 1);
    }
  }
}

TEST_F(GenerateTest, NeverChoosesWhatTheCodecCannotDecode) {
  GenerateCallbacks callbacks;
  callbacks.logits_processor = [](int, int, int, std::span<float> logits) { logits.back() = 1e6F; };
  const auto output = model_.generate(plain_, Greedy(model_, 2), callbacks);
  for (const int32_t code : output.sequences[0].data) {
    EXPECT_LT(code, model_.config().codec_config.codebook_size);
  }
}

TEST_F(GenerateTest, StaticCachesChangeNoBit) {
  auto config = Sampling(model_, 6);
  const auto expected = model_.generate(batch_, config).sequences;
  config.cache_implementation = config.depth_decoder_cache_implementation = "static";
  EXPECT_EQ(model_.generate(batch_, config).sequences, expected);
  config.num_return_sequences = 2;
  const auto copies = model_.generate(plain_, config).sequences;
  config.cache_implementation = "dynamic";
  EXPECT_EQ(model_.generate(plain_, config).sequences, copies);
  config.cache_implementation = "offloaded";
  EXPECT_THAT([&] { model_.generate(plain_, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("cache_implementation is \"offloaded\"")));
}

// A loop of one's own, out of forward() and the depth decoder, speaks like generate().
TEST_F(GenerateTest, ForwardWithACacheIsWhatGenerateDoes) {
  const auto expected = model_.generate(plain_, Greedy(model_, 4)).sequences[0];
  KvCache cache(std::ssize(plain_.rows[0].input_ids) + 4);
  StackOutput out = model_.forward(
      {.input_ids = plain_.rows[0].input_ids, .past_key_values = &cache}, {.logits_to_keep = 1});
  Codes codes;
  for (int t = 0; t < expected.num_frames(); ++t) {
    ASSERT_EQ(out.logits.rows, 1);
    const auto decodable =
        out.logits.row(0).first(static_cast<size_t>(model_.config().codec_config.codebook_size));
    const auto code0 = std::max_element(decodable.begin(), decodable.end()) - decodable.begin();
    const auto state = out.last_hidden_state.row(out.last_hidden_state.rows - 1);
    const Codes frame{expected.num_codebooks,
                      model_.depth_decoder().generate(state, static_cast<int32_t>(code0))};
    codes.append(frame);
    out = model_.forward({.codes = &frame, .past_key_values = &cache});
  }
  EXPECT_EQ(codes, expected);
}

TEST_F(GenerateTest, Cancellation) {
  int frames = 0;
  GenerateCallbacks callbacks;
  callbacks.on_frame = [&](int, std::span<const int32_t>) { ++frames; };
  callbacks.is_cancelled = [&] { return frames == 2; };
  const auto output = model_.generate(plain_, Greedy(model_, 10), callbacks);
  EXPECT_EQ(output.finish_reason[0], FinishReason::kCancelled);
  EXPECT_EQ(output.sequences[0].num_frames(), 2);
  EXPECT_EQ(output.audio[0].size(), 2U * 1920);
}

TEST_F(GenerateTest, PromptsTellHowFarTheyAreAndCanBeCancelled) {
  GenerateCallbacks callbacks;
  std::vector<int64_t> seen;
  int64_t all = 0;
  callbacks.on_prefill = [&](int64_t positions, int64_t total) {
    seen.push_back(positions);
    all = total;
  };
  const CsmInputs inputs = LoadInputs("random-tiny", "context");
  const auto expected = model_.generate(inputs, Greedy(model_, 2), callbacks);
  EXPECT_EQ(all, std::ssize(inputs.rows[0].input_ids));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  EXPECT_EQ(seen.back(), all);

  int asked = 0;
  callbacks.is_cancelled = [&] { return ++asked == 2; };  // before the first frame
  auto config = Greedy(model_, 2);
  config.output_scores = true;
  const auto output = model_.generate(inputs, config, callbacks);
  EXPECT_EQ(output.finish_reason, std::vector{FinishReason::kCancelled});
  EXPECT_EQ(output.sequences[0].num_frames(), 0);
  EXPECT_EQ(output.sequences[0].num_codebooks, model_.config().num_codebooks);
  EXPECT_TRUE(output.audio.at(0).empty());
  EXPECT_EQ(output.scores.at(0).rows, 0);
}

TEST_F(GenerateTest, CallbackExceptionsEndTheCall) {
  GenerateCallbacks callbacks;
  callbacks.on_frame = [](int, std::span<const int32_t>) { throw std::logic_error("mine"); };
  EXPECT_THAT([&] { model_.generate(plain_, Greedy(model_, 3), callbacks); },
              ThrowsMessage<std::logic_error>("mine"));
}

TEST_F(GenerateTest, LimitsOfLength) {
  auto config = Greedy(model_, 3);
  config.max_new_tokens.reset();
  const int64_t prompt = std::ssize(plain_.rows[0].input_ids);
  config.max_length = prompt + 4;
  EXPECT_EQ(model_.generate(plain_, config).sequences[0].num_frames(), 4);
  config.max_length = prompt;
  EXPECT_THAT([&] { model_.generate(plain_, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("max_length")));
  config.max_new_tokens = model_.config().max_position_embeddings - prompt + 1;
  EXPECT_THAT([&] { model_.generate(plain_, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("max_position_embeddings")));
  config.max_new_tokens = std::numeric_limits<int64_t>::max();
  EXPECT_THAT([&] { model_.generate(plain_, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("max_position_embeddings")));
  config = Sampling(model_, 3);
  config.num_return_sequences = int64_t{1} << 62;
  EXPECT_THAT([&] { model_.generate(plain_, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("num_return_sequences")));
}

TEST_F(GenerateTest, BadInputsAreSentences) {
  const auto config = Greedy(model_, 1);
  EXPECT_THAT([&] { model_.generate(CsmInputs(), config); }, Throws<ArgumentError>());
  CsmInputs inputs = plain_;
  inputs.rows[0].input_ids.clear();
  EXPECT_THAT([&] { model_.generate(inputs, config); }, Throws<ArgumentError>());
  inputs.rows[0].input_ids = {-1};
  EXPECT_THAT([&] { model_.generate(inputs, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("-1")));
  inputs = LoadInputs("random-tiny", "context");
  inputs.rows[0].clips.pop_back();
  EXPECT_THAT([&] { model_.generate(inputs, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("placeholders")));
  inputs = LoadInputs("random-tiny", "context");
  const int width = static_cast<int>(model_.config().num_codebooks);
  inputs.rows[0].clips = {Codes{width, std::vector<int32_t>(static_cast<size_t>(width) + 1)}};
  EXPECT_THAT([&] { model_.generate(inputs, config); },
              ThrowsMessage<ArgumentError>(HasSubstr("whole number of frames")));
  auto hot = config;
  hot.do_sample = true;
  hot.temperature = 0;
  EXPECT_THAT([&] { model_.generate(plain_, hot); },
              ThrowsMessage<ArgumentError>(HasSubstr("temperature")));
}

TEST_F(GenerateTest, ContextAsCodesEqualsContextAsAudio) {
  CsmInputs inputs = LoadInputs("random-tiny", "context");
  const auto config = Greedy(model_, 3);
  const auto expected = model_.generate(inputs, config);
  for (auto& clip : inputs.rows[0].clips) {
    const auto& samples = std::get<Waveform>(clip).samples;
    clip = model_.codec_model().encode(samples, static_cast<int>(model_.config().num_codebooks));
  }
  EXPECT_EQ(model_.generate(inputs, config).sequences, expected.sequences);
}

TEST_F(GenerateTest, ConvertedWeightsComeClose) {
  const auto inputs = LoadInputs("v4-spelling", "plain");
  const auto f32 = LoadModel("v4-spelling").forward(inputs, {.logits_to_keep = 1}).logits[0];
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const auto model = CsmForConditionalGeneration::from_pretrained(
        GoldenModel("v4-spelling"), {.dtype = dtype, .runtime = Runtime(1)});
    const auto converted = model.forward(inputs, {.logits_to_keep = 1}).logits[0];
    EXPECT_NE(converted.data, f32.data);
    float largest = 0, difference = 0;
    for (size_t i = 0; i < f32.data.size(); ++i) {
      largest = std::max(largest, std::abs(f32.data[i]));
      difference = std::max(difference, std::abs(f32.data[i] - converted.data[i]));
    }
    EXPECT_LT(difference, 0.1F * largest);  // bf16 keeps 8 bits, and 3 layers add their errors
  }
}

TEST_F(GenerateTest, FastPrecisionComesCloseAndIsDeterministic) {
  const auto inputs = LoadInputs("bf16-tied-backbone", "plain");
  const auto load = [](std::optional<Precision> precision, int threads) {
    return CsmForConditionalGeneration::from_pretrained(
        GoldenModel("bf16-tied-backbone"),
        {.dtype = DType::kBF16, .precision = precision, .runtime = Runtime(threads)});
  };
  const auto logits = [&](const CsmForConditionalGeneration& model) {
    return model.forward(inputs, {.logits_to_keep = 1}).logits[0].data;
  };
  const std::vector<float> exact = logits(load(Precision::kExact, 1));
  EXPECT_EQ(logits(load(std::nullopt, 1)), exact);
  const auto model = load(Precision::kFast, 1);
  const std::vector<float> fast = logits(model);
  float largest = 0, difference = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    largest = std::max(largest, std::abs(exact[i]));
    difference = std::max(difference, std::abs(exact[i] - fast[i]));
  }
  EXPECT_LT(difference, 0.05F * largest);
  const auto config = Sampling(model, 5);
  EXPECT_EQ(load(Precision::kFast, 3).generate(inputs, config).sequences,
            model.generate(inputs, config).sequences);
}

TEST(QuantizedTest, IsNotExact) {
  EXPECT_THROW(
      CsmForConditionalGeneration::from_pretrained(
          GoldenModel("random-tiny"), {.dtype = DType::kQ8_0, .precision = Precision::kExact}),
      ArgumentError);
}

// Quantized weights: near the float model, and the same bits whatever runs alongside.
TEST(QuantizedTest, ComesCloseAndIsDeterministic) {
  const auto inputs = LoadInputs("random-tiny", "batch");
  const auto f32 = LoadModel("random-tiny").forward(inputs, {.logits_to_keep = 1}).logits;
  for (const auto& [dtype, bound] : {std::pair(DType::kQ8_0, 0.05), std::pair(DType::kQ4, 0.4)}) {
    const auto load = [dtype = dtype](int threads) {
      return CsmForConditionalGeneration::from_pretrained(
          GoldenModel("random-tiny"), {.dtype = dtype, .runtime = Runtime(threads)});
    };
    const auto model = load(1);
    const auto logits = model.forward(inputs, {.logits_to_keep = 1}).logits;
    double error = 0, norm = 0;
    for (size_t r = 0; r < logits.size(); ++r) {
      for (size_t i = 0; i < logits[r].data.size(); ++i) {
        error += std::pow(double{logits[r].data[i]} - f32[r].data[i], 2);
        norm += std::pow(double{f32[r].data[i]}, 2);
      }
    }
    EXPECT_GT(error, 0);
    EXPECT_LT(std::sqrt(error / norm), bound);
    const auto config = Sampling(model, 5);
    const auto together = model.generate(inputs, config).sequences;
    EXPECT_EQ(load(3).generate(inputs, config).sequences, together);
    for (size_t row = 0; row < inputs.rows.size(); ++row) {
      EXPECT_EQ(model.generate(OneRow(inputs, row), config).sequences[0], together[row]);
    }
    EXPECT_THROW(model.save_pretrained("unused"), ArgumentError);
  }
}

TEST(StackTest, CachesAndChunksChangeNoBit) {
  const auto model = LoadModel("untied-biased");
  const auto backbone = model.backbone_model();
  std::vector<int32_t> ids(300);  // more than a chunk of the stack
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>((i * 37) % 250);
  const StackInput whole{.input_ids = ids};
  const auto expected = backbone.forward({&whole, 1}, {.output_hidden_states = true})[0];
  KvCache growing, fixed(300);
  for (KvCache* cache : {&growing, &fixed}) {
    Matrix joined;
    size_t begin = 0;
    for (const size_t count : {1, 2, 7, 1, 64, 225}) {
      const StackInput part{.input_ids = std::span(ids).subspan(begin, count),
                            .past_key_values = cache};
      const auto states = backbone.forward({&part, 1})[0].last_hidden_state;
      joined.data.insert(joined.data.end(), states.data.begin(), states.data.end());
      begin += count;
    }
    EXPECT_EQ(joined.data, expected.last_hidden_state.data);
    EXPECT_EQ(cache->get_seq_length(), 300);
  }
  const StackInput one_more{.input_ids = std::span(ids).first(1), .past_key_values = &fixed};
  EXPECT_THAT(
      [&] {
        backbone.forward({&one_more, 1});
      },
      ThrowsMessage<ArgumentError>(HasSubstr("room for 300")));
  fixed.crop(299);
  EXPECT_NO_THROW(backbone.forward({&one_more, 1}));
  EXPECT_EQ(expected.hidden_states.back().data, expected.last_hidden_state.data);
}

TEST(StackTest, RaggedBatchesEqualSingleRows) {
  const auto model = LoadModel("null-fields");
  const auto backbone = model.backbone_model();
  const std::vector<int32_t> a = {1, 2, 3, 4, 5}, b = {9};
  Codes frames{static_cast<int>(model.config().num_codebooks), {1, 2, 3, 4, 5, 6}};
  const Matrix embeds = backbone.embed_tokens(frames);
  const std::vector<StackInput> batch = {
      {.input_ids = a}, {.input_ids = b}, {.codes = &frames}, {.inputs_embeds = &embeds}};
  const auto together = backbone.forward(batch);
  for (size_t r = 0; r < batch.size(); ++r) {
    const auto alone = backbone.forward({&batch[r], 1});
    EXPECT_EQ(alone[0].last_hidden_state.data, together[r].last_hidden_state.data);
  }
  EXPECT_EQ(together[2].last_hidden_state.data, together[3].last_hidden_state.data);
}

TEST(StackTest, PositionIdsShiftNothingButRope) {
  const auto backbone = LoadModel("null-fields").backbone_model();
  const std::vector<int32_t> ids = {1, 2, 3}, same = {0, 1, 2}, spread = {0, 5, 9};
  const StackInput plain{.input_ids = ids};
  const StackInput given{.input_ids = ids, .position_ids = same};
  const StackInput other{.input_ids = ids, .position_ids = spread};
  const auto expected = backbone.forward({&plain, 1})[0].last_hidden_state.data;
  EXPECT_EQ(backbone.forward({&given, 1})[0].last_hidden_state.data, expected);
  EXPECT_NE(backbone.forward({&other, 1})[0].last_hidden_state.data, expected);
}

TEST(StackTest, BadInputsAreSentences) {
  const auto model = LoadModel("null-fields");
  const auto backbone = model.backbone_model();
  const std::vector<int32_t> ids = {1};
  const std::vector<int32_t> two = {0, 1};
  const Codes wrong_width{7, std::vector<int32_t>(7)};
  Codes too_large{static_cast<int>(model.config().num_codebooks), {}};
  too_large.data.assign(static_cast<size_t>(too_large.num_codebooks), 5000);
  const Matrix narrow(1, 3);
  Matrix torn(1, model.config().hidden_size), negative = torn;
  torn.data.push_back(0);
  negative.rows = -1;
  KvCache of_depth_decoder;
  const StackInput frame{.input_ids = ids, .past_key_values = &of_depth_decoder};
  model.depth_decoder().forward({&frame, 1});
  for (const StackInput& bad :
       {StackInput{}, StackInput{.input_ids = ids, .codes = &too_large},
        StackInput{.codes = &wrong_width}, StackInput{.codes = &too_large},
        StackInput{.inputs_embeds = &narrow}, StackInput{.inputs_embeds = &torn},
        StackInput{.inputs_embeds = &negative}, StackInput{.input_ids = ids, .position_ids = two},
        StackInput{.input_ids = ids, .past_key_values = &of_depth_decoder}}) {
    EXPECT_THROW(backbone.forward({&bad, 1}), ArgumentError);
  }
  KvCache shared;
  const StackInput row{.input_ids = ids, .past_key_values = &shared};
  const StackInput twins[] = {row, row};
  EXPECT_THAT([&] { backbone.forward(twins); },
              ThrowsMessage<ArgumentError>(HasSubstr("the same KvCache")));
  EXPECT_EQ(shared.get_seq_length(), 0);
  EXPECT_THROW(KvCache(int64_t{1} << 60), ArgumentError);
  const std::vector<int32_t> too_long(10);
  const StackInput long_frame{.input_ids = too_long};
  EXPECT_THROW(model.depth_decoder().forward({&long_frame, 1}), ArgumentError);
  EXPECT_THROW(model.depth_decoder().generate(std::vector<float>(1), 0), ArgumentError);
}

TEST(DepthDecoderTest, GeneratesAloneWhatForwardPredicts) {
  const auto model = LoadModel("untied-biased");
  const auto depth_decoder = model.depth_decoder();
  std::vector<float> state(static_cast<size_t>(model.config().hidden_size));
  for (size_t i = 0; i < state.size(); ++i) state[i] = std::sin(static_cast<float>(i));
  const std::vector<int32_t> frame = depth_decoder.generate(state, 7);
  ASSERT_EQ(std::ssize(frame), model.config().num_codebooks);
  EXPECT_EQ(frame[0], 7);
  std::vector<int32_t> inputs = {0};  // position 0 is the state's
  inputs.insert(inputs.end(), frame.begin(), frame.end() - 1);
  const StackInput row{.input_ids = inputs, .backbone_last_hidden_state = state};
  const Matrix logits = depth_decoder.forward({&row, 1})[0].logits;
  ASSERT_EQ(logits.rows, std::ssize(frame) - 1);
  for (int64_t i = 0; i < logits.rows; ++i) {
    const auto best = std::max_element(logits.row(i).begin(), logits.row(i).end());
    EXPECT_EQ(best - logits.row(i).begin(), frame[static_cast<size_t>(i + 1)]);
  }
}

TEST(DepthDecoderTest, AloneNeverChoosesWhatTheCodecCannotDecode) {
  const auto model = LoadModel("random-tiny");
  const int64_t codebook_size = model.config().codec_config.codebook_size;
  ASSERT_LT(codebook_size, model.config().vocab_size);
  SamplingConfig any{.do_sample = true, .temperature = 1e6, .top_k = 0};
  const std::vector<float> state(static_cast<size_t>(model.config().hidden_size), 0.5F);
  for (uint64_t seed = 0; seed < 100; ++seed) {
    for (const int32_t code : model.depth_decoder().generate(state, 0, any, seed)) {
      ASSERT_LT(code, codebook_size);
    }
  }
}

}  // namespace
}  // namespace csm::engine

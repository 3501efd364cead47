// A voice says what the whole conversation would, bit for bit; and what a voice is not.
#include "engine/voice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "base/atomic_file.h"
#include "base/temporary_folder.h"
#include "engine/csm_model.h"
#include "engine/golden_case.h"
#include "text/conversation.h"

namespace csm::engine {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::ThrowsMessage;

CsmForConditionalGeneration LoadTyped(const std::string& name,
                                      std::optional<DType> dtype = std::nullopt) {
  return CsmForConditionalGeneration::from_pretrained(GoldenModel(name),
                                                      {.dtype = dtype, .runtime = Runtime(2)});
}

Message Line(const std::string& role, const std::string& text) {
  Message message{.role = role, .content = {}};
  message.content.emplace_back(Text{text});
  return message;
}

Message Spoken(const std::string& role, const std::string& text, Codes codes) {
  Message message = Line(role, text);
  message.content.emplace_back(Audio{std::move(codes)});
  return message;
}

Codes SomeCodes(const CsmConfig& config, int num_frames) {
  Codes codes{static_cast<int>(config.num_codebooks), {}};
  const auto size = static_cast<uint32_t>(config.codec_config.codebook_size);
  uint32_t state = 1;
  for (int i = 0; i < num_frames * codes.num_codebooks; ++i) {
    state = state * 1664525U + 1013904223U;
    codes.data.push_back(static_cast<int32_t>((state >> 16) % size));
  }
  return codes;
}

Conversation Join(Conversation turns, const Conversation& more) {
  turns.insert(turns.end(), more.begin(), more.end());
  return turns;
}

/// The turns of a model's "context" scenario before its last, which is the line to speak.
Conversation Context(const std::string& model) {
  Conversation turns = load_conversations(GoldenModel(model) / "context/conversation.json")[0];
  turns.pop_back();
  return turns;
}

struct Tested {
  std::string model;
  std::optional<DType> dtype = std::nullopt;
};

class VoiceEqualityTest : public ::testing::TestWithParam<Tested> {
 protected:
  CsmForConditionalGeneration model_ = LoadTyped(GetParam().model, GetParam().dtype);
  CsmProcessor processor_ = CsmProcessor::from_pretrained(GoldenModel(GetParam().model));

  void ExpectEqual(const Voice& voice, const Conversation& turns,
                   const std::vector<Conversation>& lines) {
    std::vector<Conversation> whole;
    for (const Conversation& line : lines) whole.push_back(Join(turns, line));
    const CsmInputs expected_inputs = processor_.apply_chat_template(whole);
    const CsmInputs inputs = voice.apply_chat_template(processor_, lines);
    ASSERT_EQ(inputs.rows.size(), lines.size());
    for (size_t r = 0; r < lines.size(); ++r) {
      EXPECT_EQ(inputs.rows[r].input_ids, expected_inputs.rows[r].input_ids);
    }
    for (GenerationConfig config : {Greedy(model_, 6), Sampling(model_, 6)}) {
      const auto expected = model_.generate(expected_inputs, config);
      const auto output = model_.generate(inputs, config);
      EXPECT_EQ(output.sequences, expected.sequences);
      EXPECT_EQ(output.audio, expected.audio);
      config.cache_implementation = "static";
      EXPECT_EQ(model_.generate(inputs, config).sequences, expected.sequences);
    }
  }
};

TEST_P(VoiceEqualityTest, OneLine) {
  const Conversation turns = Context(GetParam().model);
  const Voice voice = Voice::create(model_, processor_, turns);
  ExpectEqual(voice, turns, {{Line("1", "And what happened then?")}});
}

TEST_P(VoiceEqualityTest, BatchFromAFile) {
  const TemporaryFolder folder;
  const Conversation turns = Context(GetParam().model);
  Voice::create(model_, processor_, turns).save(folder / "a.voice");
  const Voice voice = Voice::from_file(folder / "a.voice");
  // The same line twice is drawn twice; a turn of speech may come between.
  ExpectEqual(voice, turns,
              {{Line("0", "Hi.")},
               {Line("0", "speech speech speech speech")},
               {Line("0", "Hi.")},
               {Spoken("1", "one", SomeCodes(model_.config(), 5)), Line("0", "two")}});
}

// More positions than the stack computes at once (256), so that the borders of its chunks are
// elsewhere with a voice than without.
TEST_P(VoiceEqualityTest, LongContext) {
  const Conversation turns = {Line("1", "a turn that nobody hears"),
                              Spoken("0", "long", SomeCodes(model_.config(), 330))};
  const Voice voice = Voice::create(model_, processor_, turns);
  ExpectEqual(voice, turns, {{Line("0", "Hi.")}, {Line("1", "speech speech speech speech")}});
}

INSTANTIATE_TEST_SUITE_P(
    All, VoiceEqualityTest,
    ::testing::Values(Tested{"random-tiny"}, Tested{"random-tiny", DType::kF32},
                      Tested{"random-tiny", DType::kQ8_0}, Tested{"random-tiny", DType::kQ4},
                      Tested{"f16-tied-depth"}, Tested{"mixed-sharded"}, Tested{"untied-biased"},
                      Tested{"bf16-tied-backbone", DType::kQ8_0}),
    [](const auto& tested) {
      std::string name = tested.param.model;
      if (tested.param.dtype) name += "_as_" + std::string(kernels::NameOf(*tested.param.dtype));
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

class VoiceTest : public ::testing::Test {
 protected:
  CsmForConditionalGeneration model_ = LoadTyped("random-tiny");
  CsmProcessor processor_ = CsmProcessor::from_pretrained(GoldenModel("random-tiny"));
  Conversation turns_ = Context("random-tiny");
  Voice voice_ = Voice::create(model_, processor_, turns_);
  CsmInputs inputs_ = voice_.apply_chat_template(processor_, {Line("1", "And then?")});

  std::string RefusalOf(const CsmForConditionalGeneration& model) {
    try {
      model.generate(inputs_, Greedy(model, 1));
    } catch (const ArgumentError& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(VoiceTest, Info) {
  const VoiceInfo& info = voice_.info();
  EXPECT_EQ(info.model, "random-tiny");
  EXPECT_EQ(info.dtype, "bf16");
  EXPECT_EQ(info.precision, "exact");
  const CsmInputs line = processor_.apply_chat_template(Conversation{Line("1", "And then?")});
  EXPECT_EQ(info.num_positions,
            std::ssize(inputs_.rows[0].input_ids) - std::ssize(line.rows[0].input_ids));
  EXPECT_EQ(info.audio_seconds, info.num_frames / 12.5);
  ASSERT_EQ(voice_.conversation().size(), turns_.size());
  int frames = 0;
  for (const Message& message : voice_.conversation()) {
    frames += std::get<Codes>(text::ReadTurn(message).audio->source).num_frames();
  }
  EXPECT_EQ(frames, info.num_frames);
  EXPECT_EQ(
      Voice::create(LoadTyped("random-tiny", DType::kQ8_0), processor_, turns_).info().precision,
      "fast");
}

TEST_F(VoiceTest, SavingLosesNothing) {
  const TemporaryFolder folder;
  voice_.save(folder / "a.voice");
  const Voice read = Voice::from_file(folder / "a.voice");
  EXPECT_EQ(read.info().fingerprint, voice_.info().fingerprint);
  EXPECT_EQ(read.info().audio_seconds, voice_.info().audio_seconds);
  EXPECT_EQ(read.impl().input_ids, voice_.impl().input_ids);
  EXPECT_EQ(read.impl().codes, voice_.impl().codes);
  read.save(folder / "b.voice");
  EXPECT_EQ(ReadFile(folder / "a.voice"), ReadFile(folder / "b.voice"));
}

TEST_F(VoiceTest, OneVoiceForManyThreads) {
  const auto config = Sampling(model_, 4);
  const auto expected = model_.generate(inputs_, config).sequences;
  std::vector<std::vector<Codes>> outputs(3);
  std::vector<std::thread> callers;
  for (auto& output : outputs) {
    callers.emplace_back([&] {
      const auto inputs = voice_.apply_chat_template(processor_, {{"1", {Text{"And then?"}}}});
      output = model_.generate(inputs, config).sequences;
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& output : outputs) EXPECT_EQ(output, expected);
}

TEST_F(VoiceTest, OnlyNewPositionsAreRead) {
  GenerateCallbacks callbacks;
  int64_t all = 0;
  callbacks.on_prefill = [&](int64_t, int64_t total) { all = total; };
  model_.generate(inputs_, Greedy(model_, 1), callbacks);
  EXPECT_EQ(all, std::ssize(inputs_.rows[0].input_ids) - voice_.info().num_positions);
}

TEST_F(VoiceTest, ReturnedSequencesAndPlainRowsBesideIt) {
  auto config = Sampling(model_, 4);
  config.num_return_sequences = 2;
  CsmInputs inputs = inputs_;
  const Conversation whole = Join(turns_, {Line("1", "And then?")});
  inputs.rows.push_back(processor_.apply_chat_template(whole).rows[0]);
  CsmInputs plain = inputs;
  plain.rows[0] = plain.rows[1];
  // With and without a voice, the two are the same prompt, and so drawn apart.
  EXPECT_EQ(model_.generate(inputs, config).sequences, model_.generate(plain, config).sequences);
}

TEST_F(VoiceTest, ForwardComputesAllPositions) {
  const Conversation whole = Join(turns_, {Line("1", "And then?")});
  EXPECT_EQ(model_.forward(inputs_).logits[0].data,
            model_.forward(processor_.apply_chat_template(whole)).logits[0].data);
}

TEST_F(VoiceTest, SpecialTokensInTheText) {
  const CsmProcessor::Options special{.parse_special = true};
  const Conversation turns = {
      Spoken("0", "a<|end_of_text|>b <|begin_of_text|> ", SomeCodes(model_.config(), 3))};
  const Conversation line = {Line("1", " <|end_of_text|>and then?")};
  const Voice voice = Voice::create(model_, processor_, turns, special);
  EXPECT_EQ(voice.apply_chat_template(processor_, line, special).rows[0].input_ids,
            processor_.apply_chat_template(Join(turns, line), special).rows[0].input_ids);
  EXPECT_THAT([&] { voice.apply_chat_template(processor_, line); },
              ThrowsMessage<ArgumentError>(HasSubstr("the ids differ, with parse_special off")));
}

TEST_F(VoiceTest, InvalidUtf8IsKeptAsTheTokenizerReadsIt) {
  const Conversation turns = {Spoken("0", "caf\xE9!", SomeCodes(model_.config(), 3))};
  const TemporaryFolder folder;
  Voice::create(model_, processor_, turns).save(folder / "a.voice");
  const Conversation line = {Line("1", "Hi.")};
  EXPECT_EQ(
      Voice::from_file(folder / "a.voice").apply_chat_template(processor_, line).rows[0].input_ids,
      processor_.apply_chat_template(Join(turns, line)).rows[0].input_ids);
}

TEST_F(VoiceTest, AnotherModelIsRefusedByName) {
  EXPECT_THAT(RefusalOf(LoadTyped("v4-spelling")),
              AllOf(HasSubstr("the voice was made with the model \"random-tiny\" (bf16)"),
                    HasSubstr("this is \"v4-spelling\" (f32)")));
  EXPECT_THAT(RefusalOf(LoadTyped("random-tiny", DType::kQ8_0)),
              AllOf(HasSubstr("\"random-tiny\" (bf16)"), HasSubstr("\"random-tiny\" (q8_0")));
}

// One number more or less in the config, or in a tensor, is another model.
TEST_F(VoiceTest, TheSameNameIsNotTheSameModel) {
  const TemporaryFolder folder;
  const auto copy = folder / "random-tiny";
  std::filesystem::copy(GoldenModel("random-tiny"), copy);
  const auto reload = [&] { return CsmForConditionalGeneration::from_pretrained(copy); };
  EXPECT_EQ(RefusalOf(reload()), "");
  const std::string weights = ReadFile(copy / "model.safetensors");
  const std::string config_text = ReadFile(copy / "config.json");

  Json config = ParseJson(config_text, "config.json");
  config["rms_norm_eps"] = 2e-5;
  WriteFileAtomically(copy / "config.json", config.dump());
  EXPECT_THAT(RefusalOf(reload()), HasSubstr("whose weights or settings are others"));
  WriteFileAtomically(copy / "config.json", config_text);

  for (const std::string part :
       {"backbone_model.layers.1.self_attn.v_proj.weight",
        "backbone_model.layers.0.input_layernorm.weight", "embed_text_tokens.weight",
        "codec_model.encoder.layers.0.conv.weight"}) {
    const uint64_t header_bytes = static_cast<unsigned char>(weights[0]) +
                                  256U * static_cast<unsigned char>(weights[1]) +
                                  65536U * static_cast<unsigned char>(weights[2]);
    const Json header = ParseJson(weights.substr(8, header_bytes), "header");
    std::string changed = weights;
    changed[8 + header_bytes + header[part]["data_offsets"][0].get<size_t>()] ^= 1;
    WriteFileAtomically(copy / "model.safetensors", changed);
    EXPECT_THAT(RefusalOf(reload()), HasSubstr("whose weights or settings are others")) << part;
  }
}

TEST_F(VoiceTest, TheSameWeightsInTheSameTypeAreTheSameModel) {
  // bf16 numbers are the same in f32 and back.
  const TemporaryFolder folder;
  LoadTyped("random-tiny", DType::kF32).save_pretrained(folder / "wide");
  const auto narrowed =
      CsmForConditionalGeneration::from_pretrained(folder / "wide", {.dtype = DType::kBF16});
  EXPECT_EQ(RefusalOf(narrowed), "");
  EXPECT_EQ(model_.generate(inputs_, Sampling(model_, 4)).sequences,
            narrowed.generate(inputs_, Sampling(model_, 4)).sequences);
}

TEST_F(VoiceTest, RowsThatDoNotGoOnFromTheirVoice) {
  const auto refuse = [&](const CsmInputs& inputs, const std::string& message) {
    EXPECT_THAT([&] { model_.generate(inputs, Greedy(model_, 1)); },
                ThrowsMessage<ArgumentError>(HasSubstr(message)));
  };
  CsmInputs inputs = inputs_;
  ++inputs.rows[0].input_ids[2];
  refuse(inputs, "does not begin with the ids and codes of the voice");
  inputs = inputs_;
  std::get<Codes>(inputs.rows[0].clips[0]).data[5] ^= 1;
  refuse(inputs, "does not begin with the ids and codes of the voice");
  inputs = inputs_;
  inputs.rows[0].input_ids = voice_.impl().input_ids;
  refuse(inputs, "nothing after the voice");
  inputs.rows[0].input_ids.resize(3);
  refuse(inputs, "does not begin with");
}

TEST_F(VoiceTest, WhatIsNoVoice) {
  const auto refuse = [&](const Conversation& turns, const std::string& message,
                          const CsmProcessor::Options& options = {}) {
    EXPECT_THAT([&] { Voice::create(model_, processor_, turns, options); },
                ThrowsMessage<ArgumentError>(HasSubstr(message)));
  };
  refuse({}, "has no turns");
  refuse({Line("0", "Hi.")}, "has no audio");
  refuse(Join(turns_, {Line("0", "Hi.")}), "message 2 is the last and has no audio");
  refuse({Spoken("0", "long", SomeCodes(model_.config(), 512))}, "leaves no room for speech");
  refuse(turns_, "output_labels", {.output_labels = true});
  refuse(turns_, "add_special_tokens", {.add_special_tokens = true});
  refuse({Spoken("bob", "a", SomeCodes(model_.config(), 1))}, "conversation 0, message 0");
  EXPECT_THAT(
      [&] { voice_.apply_chat_template(processor_, {Line("1", "a")}, {.output_labels = true}); },
      ThrowsMessage<ArgumentError>(HasSubstr("output_labels")));
  EXPECT_THAT([&] { voice_.apply_chat_template(processor_, {Line("bob", "a")}); },
              ThrowsMessage<ArgumentError>(HasSubstr("conversation 0, message 0")));
}

TEST_F(VoiceTest, TellsHowFarItIsAndCanBeEnded) {
  std::vector<int64_t> frames, positions;
  VoiceCallbacks callbacks;
  callbacks.on_encode = [&](int64_t done, int64_t total) {
    frames.push_back(done);
    EXPECT_EQ(total, voice_.info().num_frames);
  };
  callbacks.on_prefill = [&](int64_t done, int64_t total) {
    positions.push_back(done);
    EXPECT_EQ(total, voice_.info().num_positions);
  };
  Voice::create(model_, processor_, turns_, {}, callbacks);
  EXPECT_TRUE(std::is_sorted(frames.begin(), frames.end()));
  EXPECT_GE(frames.size(), turns_.size());
  EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
  EXPECT_EQ(positions.back(), voice_.info().num_positions);
  callbacks.on_prefill = [](int64_t, int64_t) { throw std::logic_error("mine"); };
  EXPECT_THAT([&] { Voice::create(model_, processor_, turns_, {}, callbacks); },
              ThrowsMessage<std::logic_error>("mine"));
}

}  // namespace
}  // namespace csm::engine

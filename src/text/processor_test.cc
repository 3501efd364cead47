#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "audio/audio_file.h"
#include "base/atomic_file.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "csm/csm.hpp"
#include "text/clip.h"

namespace csm {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

const std::filesystem::path kGoldens = std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens";
const std::filesystem::path kTiny = kGoldens / "random-tiny";

constexpr int32_t kBegin = 300, kEnd = 301, kAudio = 302, kAudioEos = 303;  // of kTiny

const CsmProcessor& Tiny() {
  static const CsmProcessor processor = CsmProcessor::from_pretrained(kTiny);
  return processor;
}

Message Say(const std::string& text) { return {.role = "0", .content = {Text{text}}}; }

Message Say(const std::string& text, Audio audio) {
  return {.role = "0", .content = {Text{text}, std::move(audio)}};
}

Audio Silence(size_t num_samples, int sampling_rate = 24000) {
  return {Waveform{std::vector<float>(num_samples), sampling_rate}};
}

int64_t NumAudioIds(const std::vector<int32_t>& ids) {
  return std::count(ids.begin(), ids.end(), kAudio);
}

std::vector<int64_t> Flat(const Json& rows) {
  std::vector<int64_t> all;
  for (const Json& row : rows) {
    for (const Json& value : row) all.push_back(value.get<int64_t>());
  }
  return all;
}

// --- against Hugging Face

TEST(CsmProcessor, GivesTheIdsOfHuggingFaceOnEveryGolden) {
  int num_scenarios = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kGoldens)) {
    const auto folder = entry.path().parent_path();
    if (entry.path().filename() != "conversation.json") continue;
    SCOPED_TRACE(folder.string());
    const Json reference = ParseJsonFile(folder / "reference.json");
    const auto processor = CsmProcessor::from_pretrained(folder.parent_path());
    const CsmInputs inputs =
        processor.apply_chat_template(load_conversations(entry.path()),
                                      {.parse_special = reference.value("parse_special", false)});
    const PaddedInputs padded = inputs.padded();
    EXPECT_EQ(padded.input_ids, Flat(reference["input_ids"]));
    EXPECT_EQ(padded.attention_mask, Flat(reference["attention_mask"]));
    if (reference.contains("prompt")) {
      const auto plain =
          processor(reference["prompt"].get<std::string>(), {.add_special_tokens = true});
      EXPECT_EQ(plain.padded().input_ids, Flat(reference["input_ids"]));
    }
    ++num_scenarios;
  }
  EXPECT_GE(num_scenarios, 10);
}

TEST(CsmProcessor, LabelsAreHuggingFacesButForTheDraw) {
  const Json reference = ParseJsonFile(kTiny / "training" / "reference.json");
  const auto inputs = Tiny().apply_chat_template(
      load_conversations(kTiny / "training" / "conversation.json"),
      {.output_labels = true,
       .depth_decoder_labels_ratio = reference["depth_decoder_labels_ratio"].get<double>()});
  auto ours = inputs.padded().labels;
  auto theirs = Flat(reference["labels"]);
  EXPECT_EQ(std::count(ours.begin(), ours.end(), -101),
            std::count(theirs.begin(), theirs.end(), -101));
  std::replace(ours.begin(), ours.end(), int64_t{-101}, int64_t{kAudio});
  std::replace(theirs.begin(), theirs.end(), int64_t{-101}, int64_t{kAudio});
  EXPECT_EQ(ours, theirs);
}

TEST(CsmProcessor, TurnsThatAreContextHaveNoLabels) {
  Message context = Say("a", Silence(1920));
  context.train = false;
  const auto inputs =
      Tiny().apply_chat_template({{context, Say("b", Silence(3840)), context}},
                                 {.output_labels = true, .depth_decoder_labels_ratio = 0.5});
  std::vector<int32_t> labels = inputs.rows.at(0).labels;
  std::erase(labels, -100);
  EXPECT_EQ(std::count(labels.begin(), labels.end(), -101), 1);  // of the two frames that count
  std::replace(labels.begin(), labels.end(), -101, kAudio);
  EXPECT_THAT(labels, ElementsAre(kAudio, kAudio, kAudioEos));
}

TEST(CsmProcessor, ResamplesAsHuggingFace) {
  const auto inputs =
      Tiny().apply_chat_template({{Say("x", {kTiny / "stereo" / "stereo_44100.wav"}), Say("y")}});
  const auto& clip = std::get<Waveform>(inputs.rows[0].clips.at(0));
  EXPECT_EQ(clip.sampling_rate, 24000);
  const Waveform theirs = audio::ReadAudio(kTiny / "stereo" / "stereo_44100_resampled.wav");
  ASSERT_EQ(clip.samples.size(), theirs.samples.size());
  for (size_t i = 0; i < theirs.samples.size(); ++i) {
    ASSERT_NEAR(clip.samples[i], theirs.samples[i], 1e-6) << i;
  }
}

/// Hugging Face's number of placeholders: the length after each layer of Mimi's encoder, in
/// integers (its floats are off by one for long audio).
int64_t EncodedLength(int64_t length) {
  constexpr int64_t kKernels[] = {7, 3, 1, 8, 3, 1, 10, 3, 1, 12, 3, 1, 16, 3, 4};
  constexpr int64_t kStrides[] = {1, 1, 1, 4, 1, 1, 5, 1, 1, 6, 1, 1, 8, 1, 2};
  for (size_t layer = 0; layer < std::size(kKernels); ++layer) {
    const int64_t kernel = kKernels[layer];
    const int64_t stride = kStrides[layer];
    const int64_t padding = kernel - stride;
    const int64_t num_frames = (length - kernel + padding + stride - 1) / stride;
    const int64_t extra = num_frames * stride + kernel - padding - length;
    length = (length + padding + extra - kernel) / stride + 1;
  }
  return length;
}

TEST(NumFrames, IsTheLengthThatHuggingFaceComputesLayerByLayer) {
  const auto check = [](int64_t num_samples) {
    const text::Clip clip = Waveform{std::vector<float>(static_cast<size_t>(num_samples))};
    ASSERT_EQ(text::NumFrames(clip, 1920), EncodedLength(num_samples)) << num_samples;
  };
  for (int64_t n = 1; n < 3 * 1920 + 10; ++n) check(n);
  for (int64_t n = 1; n < 20000000; n = n * 3 + 7) check(n);
}

// --- conversations

TEST(ApplyChatTemplate, WritesTurnsWithTheirAudio) {
  const auto inputs = Tiny().apply_chat_template({{Say("", Silence(1921)), Say("")}});
  EXPECT_THAT(inputs.rows.at(0).input_ids, ElementsAre(kBegin, 58, 15, 60, kEnd, kAudio, kAudio,
                                                       kAudioEos, kBegin, 58, 15, 60, kEnd));
  EXPECT_EQ(inputs.rows[0].clips.size(), 1u);
  EXPECT_THAT(inputs.rows[0].labels, IsEmpty());
}

TEST(ApplyChatTemplate, AudioBeforeTextLosesNothing) {
  const Message audio_first{.role = "3", .content = {Silence(100), Text{"Hello"}}};
  const Message text_first{.role = "3", .content = {Text{"Hello"}, Silence(100)}};
  EXPECT_EQ(Tiny().apply_chat_template({{audio_first}}).rows[0].input_ids,
            Tiny().apply_chat_template({{text_first}}).rows[0].input_ids);
}

TEST(ApplyChatTemplate, UserTextIsTextUnlessAskedFor) {
  const Conversation conversation = {Say("a<|end_of_text|><|AUDIO|>b")};
  const auto ids = Tiny().apply_chat_template(conversation).rows[0].input_ids;
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kEnd), 1);
  EXPECT_EQ(NumAudioIds(ids), 0);
  EXPECT_EQ(Tiny().tokenizer().decode(ids),
            "<|begin_of_text|>[0]a<|end_of_text|><|AUDIO|>b"
            "<|end_of_text|>");
  EXPECT_THAT([&] { Tiny().apply_chat_template(conversation, {.parse_special = true}); },
              ThrowsMessage<ArgumentError>(HasSubstr("1 <|AUDIO|> for 0 clips")));
  const auto special =
      Tiny().apply_chat_template({{Say("a<|end_of_text|>b")}}, {.parse_special = true});
  EXPECT_EQ(std::count(special.rows[0].input_ids.begin(), special.rows[0].input_ids.end(), kEnd),
            2);
}

TEST(ApplyChatTemplate, TakesCodes) {
  const Codes codes{.num_codebooks = 8, .data = std::vector<int32_t>(3 * 8, 63)};
  const auto inputs = Tiny().apply_chat_template({{Say("x", {codes}), Say("y")}});
  EXPECT_EQ(NumAudioIds(inputs.rows[0].input_ids), 3);
  EXPECT_EQ(std::get<Codes>(inputs.rows[0].clips.at(0)), codes);
}

TEST(ApplyChatTemplate, NamesTheMessageAtFault) {
  const auto error = [](Message message) {
    return [message] { Tiny().apply_chat_template({{Say("fine"), message}}); };
  };
  const auto fails = [](const char* words) {
    return ThrowsMessage<ArgumentError>(
        AllOf(HasSubstr("conversation 0, message 1: "), HasSubstr(words)));
  };
  const auto codes = [](int num_codebooks, std::vector<int32_t> data) {
    return Say("x", {Codes{num_codebooks, std::move(data)}});
  };
  EXPECT_THAT(error({.role = "user", .content = {Text{"x"}}}), fails("not a speaker"));
  EXPECT_THAT(error({.role = "0", .content = {Text{"x"}, Text{"y"}}}), fails("2 texts"));
  EXPECT_THAT(error({.role = "0"}), fails("0 texts"));
  EXPECT_THAT(error(Say("x", Silence(0))), fails("0 samples"));
  EXPECT_THAT(error(Say("x", Silence(10, 0))), fails("0 Hz"));
  EXPECT_THAT(error(Say("x", {Waveform{{0, std::numeric_limits<float>::quiet_NaN()}, 24000}})),
              fails("sample 1 "));
  EXPECT_THAT(error(codes(7, std::vector<int32_t>(7))), fails("7 codebooks; the model takes 8"));
  EXPECT_THAT(error(codes(8, {})), fails("not whole frames"));
  EXPECT_THAT(error(codes(8, std::vector<int32_t>(9))), fails("not whole frames"));
  EXPECT_THAT(error(codes(0, {1})), fails("not whole frames"));
  std::vector<int32_t> data(16);
  data[10] = 64;
  EXPECT_THAT(error(codes(8, data)),
              fails("frame 1, codebook 2 has the code 64; codes are 0 to 63"));
  data[10] = -1;
  EXPECT_THAT(error(codes(8, data)), fails("the code -1"));
  EXPECT_THAT(error(Say("x", {std::filesystem::path("/nonexistent/a.wav")})),
              ThrowsMessage<FileError>(AllOf(HasSubstr("conversation 0, message 1: "),
                                             HasSubstr("/nonexistent/a.wav"))));
  EXPECT_THROW(Tiny().apply_chat_template(Conversation{}), ArgumentError);
  EXPECT_THROW(Tiny().apply_chat_template(std::span<const Conversation>()), ArgumentError);
}

// --- plain texts

TEST(CsmProcessor, SpecialTokensInAPlainTextAreTextUnlessAskedFor) {
  const auto plain = Tiny()("<|AUDIO|>", {.add_special_tokens = true}).rows[0].input_ids;
  EXPECT_EQ(plain.front(), kBegin);
  EXPECT_EQ(plain.back(), kEnd);
  EXPECT_EQ(NumAudioIds(plain), 0);
  EXPECT_THAT(Tiny()("<|end_of_text|>", {.parse_special = true}).rows[0].input_ids,
              ElementsAre(kEnd));
}

TEST(CsmProcessor, PlacesAudioInTexts) {
  const std::vector<std::string> texts = {"a<|AUDIO|><|audio_eos|>b<|AUDIO|>", "c", "<|AUDIO|>"};
  const std::vector<Audio> audios = {Silence(1), Silence(1921), Silence(4000)};
  const auto inputs = Tiny()(texts, audios, {});
  EXPECT_EQ(NumAudioIds(inputs.rows[0].input_ids), 1 + 2);
  EXPECT_EQ(inputs.rows[0].clips.size(), 2u);
  EXPECT_EQ(inputs.rows[1].clips.size(), 0u);
  EXPECT_THAT(inputs.rows[2].input_ids, ElementsAre(kAudio, kAudio, kAudio));
  EXPECT_THAT([&] { Tiny()(texts, std::span(audios).first(2), {}); },
              ThrowsMessage<ArgumentError>(HasSubstr("3 <|AUDIO|> for 2 clips")));
  EXPECT_THROW(Tiny()(std::span<const std::string>(), {}), ArgumentError);
}

// --- labels

TEST(Labels, AreAudioIdsAndADrawnShareKeepsDepthLabels) {
  const Conversation conversation = {Say("x", Silence(1920 * 10)), Say("y", Silence(1920 * 7))};
  const auto labels = [&](double ratio, uint64_t seed) {
    return Tiny()
        .apply_chat_template(
            conversation,
            {.output_labels = true, .depth_decoder_labels_ratio = ratio, .seed = seed})
        .rows[0]
        .labels;
  };
  const auto ids = Tiny().apply_chat_template(conversation).rows[0].input_ids;
  const auto all = labels(1.0, 0);
  ASSERT_EQ(all.size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(all[i], ids[i] == kAudio || ids[i] == kAudioEos ? ids[i] : -100);
  }
  const auto num_skipped = [](const std::vector<int32_t>& row) {
    return std::count(row.begin(), row.end(), -101);
  };
  EXPECT_EQ(num_skipped(labels(0.0, 0)), 17);
  EXPECT_EQ(num_skipped(labels(0.5, 0)), 8);  // int(17 * 0.5)
  EXPECT_EQ(labels(0.5, 7), labels(0.5, 7));
  EXPECT_NE(labels(0.5, 7), labels(0.5, 8));
  EXPECT_THROW(labels(1.1, 0), ArgumentError);
  EXPECT_THROW(labels(-0.1, 0), ArgumentError);
  EXPECT_THROW(labels(std::nan(""), 0), ArgumentError);
}

// --- padding

CsmInputs TwoRows() {
  CsmInputs inputs;
  inputs.pad_token_id = 9;
  inputs.rows.resize(2);
  inputs.rows[0].input_ids = {1, 2, 3};
  inputs.rows[0].labels = {-100, -101, 3};
  inputs.rows[0].clips = {Waveform{{0.5f}, 24000}, Waveform{{0.25f, 0.125f}, 24000}};
  inputs.rows[1].input_ids = {4};
  inputs.rows[1].labels = {4};
  return inputs;
}

TEST(Padded, PadsOnTheLeft) {
  const PaddedInputs padded = TwoRows().padded();
  EXPECT_EQ(padded.batch, 2);
  EXPECT_EQ(padded.length, 3);
  EXPECT_THAT(padded.input_ids, ElementsAre(1, 2, 3, 9, 9, 4));
  EXPECT_THAT(padded.attention_mask, ElementsAre(1, 1, 1, 0, 0, 1));
  EXPECT_THAT(padded.labels, ElementsAre(-100, -101, 3, -100, -100, 4));
  EXPECT_EQ(padded.max_samples, 3);
  EXPECT_THAT(padded.input_values, ElementsAre(0.5f, 0.25f, 0.125f, 0, 0, 0));
  EXPECT_EQ(padded.max_clips, 2);
  EXPECT_THAT(padded.input_values_cutoffs, ElementsAre(1, 3, -1, -1));
}

TEST(Padded, PadsOnTheRightAndToALength) {
  const PaddedInputs padded = TwoRows().padded({.padding_side = "right", .max_length = 4});
  EXPECT_THAT(padded.input_ids, ElementsAre(1, 2, 3, 9, 4, 9, 9, 9));
  EXPECT_THAT(padded.attention_mask, ElementsAre(1, 1, 1, 0, 1, 0, 0, 0));
  CsmInputs right = TwoRows();
  right.padding_side = "right";
  EXPECT_THAT(right.padded().input_ids, ElementsAre(1, 2, 3, 4, 9, 9));
}

TEST(Padded, WithoutAudioThereAreNoSamples) {
  const PaddedInputs padded = Tiny()("[0]x").padded();
  EXPECT_EQ(padded.max_clips, 0);
  EXPECT_THAT(padded.input_values_cutoffs, IsEmpty());
  EXPECT_THAT(padded.labels, IsEmpty());
}

TEST(Padded, RefusesWhatArraysCannotHold) {
  EXPECT_THAT([] { TwoRows().padded({.max_length = 2}); },
              ThrowsMessage<ArgumentError>(AllOf(HasSubstr("3 positions"), HasSubstr("2"))));
  EXPECT_THROW(TwoRows().padded({.padding_side = "middle"}), ArgumentError);
  CsmInputs codes = TwoRows();
  codes.rows[1].clips = {Codes{8, std::vector<int32_t>(8)}};
  EXPECT_THAT([&] { codes.padded(); }, ThrowsMessage<ArgumentError>(HasSubstr("row 1")));
  CsmInputs labels = TwoRows();
  labels.rows[0].labels.pop_back();
  EXPECT_THROW(labels.padded(), ArgumentError);
}

// --- files

void Copy(const std::filesystem::path& from, const std::filesystem::path& to,
          std::initializer_list<const char*> names) {
  for (const char* name : names) std::filesystem::copy_file(from / name, to / name);
}

TEST(CsmProcessor, SavesWhatItLoads) {
  const TemporaryFolder folder;
  const auto saved = folder.path() / "new" / "folder";
  Tiny().save_pretrained(saved);
  EXPECT_EQ(ReadFile(saved / "tokenizer.json"), ReadFile(kTiny / "tokenizer.json"));
  const auto loaded = CsmProcessor::from_pretrained(saved);
  const Conversation conversation = {Say("Hello", Silence(30000)), Say("you")};
  EXPECT_EQ(loaded.apply_chat_template(conversation).padded().input_ids,
            Tiny().apply_chat_template(conversation).padded().input_ids);
  loaded.save_pretrained(saved);  // onto itself
  EXPECT_EQ(CsmProcessor::from_pretrained(saved).sampling_rate(), 24000);
}

TEST(CsmProcessor, MakesATokenizerConfigWhereThereWasNone) {
  const TemporaryFolder folder;
  Copy(kTiny, folder.path(), {"tokenizer.json"});
  CsmProcessor::from_pretrained(folder.path()).save_pretrained(folder.path() / "saved");
  const Json config = ParseJsonFile(folder.path() / "saved" / "tokenizer_config.json");
  EXPECT_EQ(config["pad_token"], "<|end_of_text|>");
}

TEST(CsmProcessor, ReadsThePadTokenAndSide) {
  const TemporaryFolder folder;
  Copy(kTiny, folder.path(), {"tokenizer.json"});
  WriteFileAtomically(folder.path() / "tokenizer_config.json",
                      R"({"pad_token": {"content": "<|AUDIO|>"}, "padding_side": "right"})");
  const auto inputs = CsmProcessor::from_pretrained(folder.path())("x");
  EXPECT_EQ(inputs.pad_token_id, kAudio);
  EXPECT_EQ(inputs.padding_side, "right");
}

TEST(CsmProcessor, RefusesFilesThatDisagree) {
  const auto error_with = [](const char* name, const std::string& content) {
    return [name, content] {
      const TemporaryFolder folder;
      Copy(kTiny, folder.path(), {"tokenizer.json", "config.json"});
      std::filesystem::remove(folder.path() / name);
      WriteFileAtomically(folder.path() / name, content);
      CsmProcessor::from_pretrained(folder.path());
    };
  };
  Json config = ParseJsonFile(kTiny / "config.json");
  config["audio_token_id"] = 5;
  EXPECT_THAT(
      error_with("config.json", config.dump()),
      ThrowsMessage<FormatError>(AllOf(HasSubstr("audio_token_id is 5"), HasSubstr("302"))));
  EXPECT_THAT(error_with("tokenizer_config.json", R"({"pad_token": "<pad>"})"),
              ThrowsMessage<FormatError>(HasSubstr("<pad>")));
  EXPECT_THAT(error_with("tokenizer_config.json", R"({"padding_side": "top"})"),
              ThrowsMessage<FormatError>(HasSubstr("padding_side")));
  EXPECT_THAT(error_with("tokenizer_config.json", R"({"pad_token": 3})"),
              ThrowsMessage<FormatError>(HasSubstr("pad_token is an integer")));
  EXPECT_THAT(error_with("preprocessor_config.json", R"({"sampling_rate": 16000})"),
              ThrowsMessage<FormatError>(AllOf(HasSubstr("16000"), HasSubstr("24000 Hz"))));
  EXPECT_THAT(
      error_with("processor_config.json", R"({"feature_extractor": {"sampling_rate": "fast"}})"),
      ThrowsMessage<FormatError>(HasSubstr("sampling_rate is \"fast\"")));
  std::string tokenizer = ReadFile(kTiny / "tokenizer.json");
  for (size_t at; (at = tokenizer.find("<|audio_eos|>")) != std::string::npos;) {
    tokenizer.replace(at, 13, "<|other_eos|>");
  }
  EXPECT_THAT(error_with("tokenizer.json", tokenizer),
              ThrowsMessage<FormatError>(
                  AllOf(HasSubstr("tokenizer.json has no token"), HasSubstr("<|audio_eos|>"))));
}

TEST(CsmProcessor, SavesAudio) {
  const TemporaryFolder folder;
  const std::vector<float> samples = {0.5f, -0.5f};
  EXPECT_EQ(Tiny().save_audio(samples, folder.path() / "a.wav"), 0);
  EXPECT_EQ(audio::ReadAudio(folder.path() / "a.wav").samples, samples);
  EXPECT_EQ(Tiny().load_audio(folder.path() / "a.wav").samples, samples);
  const std::vector<float> loud = {1.5f, 0.25f, -2.0f};
  EXPECT_EQ(Tiny().save_audio(loud, folder.path() / "b.wav"), 2);
  EXPECT_EQ(Tiny().save_audio(loud, folder.path() / "b.wav", "FLOAT"), 0);
  EXPECT_EQ(audio::ReadAudio(folder.path() / "b.wav").samples, loud);
  EXPECT_THROW(Tiny().save_audio(loud, folder.path() / "b.wav", "PCM_8"), ArgumentError);
}

}  // namespace
}  // namespace csm

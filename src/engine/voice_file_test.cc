// Files that are no voices, or broken ones: a sentence that names the file, whatever they hold.
#include "engine/voice_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "base/atomic_file.h"
#include "checkpoint/test_files.h"
#include "engine/golden_case.h"
#include "engine/voice.h"

namespace csm::engine {
namespace {

using checkpoint::MessageOf;
using ::testing::HasSubstr;

/// A voice's file, taken apart.
struct File {
  Json header;
  std::string data;

  std::string bytes() const { return checkpoint::Safetensors(header.dump(), data); }
  std::string& metadata(const std::string& key) {
    return header["__metadata__"][key].get_ref<std::string&>();
  }
  char* tensor(const std::string& name) {
    return data.data() + header[name]["data_offsets"][0].get<size_t>();
  }
};

class VoiceFileTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto dir = GoldenModel("random-tiny");
    const auto model = CsmForConditionalGeneration::from_pretrained(dir, {.runtime = Runtime(1)});
    Conversation turns = load_conversations(dir / "context/conversation.json")[0];
    turns.pop_back();
    const TemporaryFolder folder;
    Voice::create(model, CsmProcessor::from_pretrained(dir), turns).save(folder / "a.voice");
    bytes_ = ReadFile(folder / "a.voice");
  }

  VoiceFileTest() {
    uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, bytes_.data(), sizeof header_bytes);
    file_ = {ParseJson(bytes_.substr(8, header_bytes), "header"), bytes_.substr(8 + header_bytes)};
  }

  static std::string ErrorOf(const std::string& bytes) {
    const std::string message =
        MessageOf<FormatError>([&] { ParseVoice(std::as_bytes(std::span(bytes)), "v.voice"); });
    EXPECT_THAT(message, HasSubstr("v.voice"));
    return message;
  }
  /// Of the file with one change.
  std::string ErrorAfter(const std::function<void(File&)>& change) const {
    File changed = file_;
    change(changed);
    return ErrorOf(changed.bytes());
  }

  static std::string bytes_;
  File file_;
};

std::string VoiceFileTest::bytes_;

TEST_F(VoiceFileTest, TakenApartAndPutTogetherIsAVoice) {
  const std::string bytes = file_.bytes();
  const auto voice = ParseVoice(std::as_bytes(std::span(bytes)), "v.voice");
  EXPECT_EQ(voice->info.model, "random-tiny");
  EXPECT_EQ(voice->cache.length, voice->info.num_positions);
}

TEST_F(VoiceFileTest, EveryCut) {
  for (size_t size = 0; size < bytes_.size(); size += size < 4000 ? 7 : 997) {
    EXPECT_THAT(ErrorOf(bytes_.substr(0, size)), HasSubstr("cannot read the voice v.voice: "))
        << size;
  }
}

TEST_F(VoiceFileTest, OtherFiles) {
  ErrorOf("");
  ErrorOf("RIFF....WAVEfmt and so on");
  EXPECT_THAT(ErrorOf(ReadFile(GoldenModel("random-tiny") / "model.safetensors")),
              HasSubstr("is not a voice, but another safetensors file"));
  EXPECT_THAT(ErrorAfter([](File& file) { file.metadata("version") = "2"; }),
              HasSubstr("format version \"2\", expected 1"));
}

TEST_F(VoiceFileTest, Metadata) {
  for (const char* key : {"version", "model", "dtype", "precision", "fingerprint", "positions",
                          "audio_seconds", "conversation"}) {
    EXPECT_THAT(ErrorAfter([&](File& file) { file.header["__metadata__"].erase(key); }),
                HasSubstr(key));
  }
  for (const char* value : {"", "7", "-1", "9999999999999999999999", "1e3"}) {
    EXPECT_THAT(ErrorAfter([&](File& file) { file.metadata("positions") = value; }),
                HasSubstr("positions"));
  }
  for (const char* value : {"", "-1", "NaN", "1e999", "[]", "\"1\""}) {
    EXPECT_THAT(ErrorAfter([&](File& file) { file.metadata("audio_seconds") = value; }),
                HasSubstr("audio_seconds"));
  }
}

TEST_F(VoiceFileTest, Conversations) {
  const Json good = ParseJson(file_.metadata("conversation"), "conversation");
  const auto fail_with = [&](const Json& conversation) {
    EXPECT_NE(ErrorAfter([&](File& file) { file.metadata("conversation") = conversation.dump(); }),
              "")
        << conversation;
  };
  for (const char* text : {"", "[", "{}", "null", "7", "[]", "[1]", "[[]]", "[{}]"}) {
    ErrorAfter([&](File& file) { file.metadata("conversation") = text; });
  }
  ErrorAfter([&](File& file) { file.metadata("conversation") = std::string(100000, '['); });
  const auto fail_with_value = [&](const char* key, const Json& value) {
    Json bad = good;
    bad[0][key] = value;
    fail_with(bad);
  };
  for (const Json& frames : {Json(-1), Json(0), Json(1), Json(1e18), Json(INT64_MAX), Json("1"),
                             Json(UINT64_MAX), Json(1.5), Json()}) {
    fail_with_value("frames", frames);
  }
  for (const Json& role : {Json("bob"), Json(""), Json(7), Json()}) fail_with_value("role", role);
  for (const Json& text : {Json(7), Json(), Json::array()}) fail_with_value("text", text);
}

TEST_F(VoiceFileTest, Tensors) {
  for (const char* name : {"input_ids", "codes", "layers.0.keys", "layers.1.values"}) {
    EXPECT_THAT(ErrorAfter([&](File& file) {
                  file.header["other"] = file.header[name];
                  file.header.erase(name);
                }),
                HasSubstr(name));
    const bool is_float = std::string_view(name).starts_with("layers");
    EXPECT_THAT(
        ErrorAfter([&](File& file) { file.header[name]["dtype"] = is_float ? "I32" : "F32"; }),
        HasSubstr(name));
    EXPECT_THAT(ErrorAfter([&](File& file) {
                  file.header[name]["shape"].insert(file.header[name]["shape"].begin(), 1);
                }),
                HasSubstr(name));
  }
  ErrorAfter([](File& file) {  // one more
    file.header["extra"] = {
        {"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {file.data.size(), file.data.size()}}};
  });
  const auto swap_dimensions = [](const char* name) {
    return [name](File& file) {
      Json& shape = file.header[name]["shape"];
      std::swap(shape[0], shape[1]);
    };
  };
  for (const char* name : {"codes", "layers.0.keys", "layers.0.values", "layers.1.keys"}) {
    ErrorAfter(swap_dimensions(name));
  }
}

TEST_F(VoiceFileTest, Values) {
  const auto put = [](const char* name, auto value) {
    return [=](File& file) { std::memcpy(file.tensor(name) + 8, &value, sizeof value); };
  };
  for (const char* name : {"input_ids", "codes"}) {
    EXPECT_THAT(ErrorAfter(put(name, int32_t{-1})), HasSubstr("holds -1, expected 0 or more"));
  }
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    for (const char* name : {"layers.0.keys", "layers.1.values"}) {
      EXPECT_THAT(ErrorAfter(put(name, value)), HasSubstr("not a finite number"));
    }
  }
}

// What a file alone does not show is found when it is used.
TEST_F(VoiceFileTest, ValuesThatDoNotFitTheModel) {
  const auto dir = GoldenModel("random-tiny");
  const auto model = CsmForConditionalGeneration::from_pretrained(dir, {.runtime = Runtime(1)});
  const auto processor = CsmProcessor::from_pretrained(dir);
  Message line{.role = "0", .content = {}};
  line.content.emplace_back(Text{"Hi."});
  const auto speak = [&](const std::function<void(File&)>& change) {
    File changed = file_;
    change(changed);
    const std::string bytes = changed.bytes();
    const Voice voice(ParseVoice(std::as_bytes(std::span(bytes)), "v.voice"));
    model.generate(voice.apply_chat_template(processor, Conversation{line}), Greedy(model, 1));
  };
  EXPECT_NO_THROW(speak([](File&) {}));
  const int32_t large = INT32_MAX;
  for (const char* name : {"input_ids", "codes"}) {
    EXPECT_THROW(speak([&](File& file) { std::memcpy(file.tensor(name) + 8, &large, 4); }),
                 ArgumentError);
  }
  EXPECT_THROW(speak([](File& file) { file.metadata("fingerprint") = "0000"; }), ArgumentError);
  // Half the layers, the rest of the file as it was.
  EXPECT_THROW(speak([](File& file) {
                 const size_t end = file.header["layers.0.values"]["data_offsets"][1];
                 file.header.erase("layers.1.keys");
                 file.header.erase("layers.1.values");
                 file.data.resize(end);
               }),
               FormatError);
}

}  // namespace
}  // namespace csm::engine

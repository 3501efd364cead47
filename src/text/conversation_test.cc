#include "text/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace csm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<Conversation> Parse(std::string_view json) {
  return text::ParseConversations(json, "folder/c.json").conversations;
}

/// The message of the FormatError, which must name the file.
std::string ErrorOf(std::string_view json) {
  try {
    Parse(json);
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("folder/c.json"));
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << json;
  return "";
}

std::string TextOf(const Message& message) { return std::get<Text>(message.content.at(0)).text; }

std::filesystem::path PathOf(const Message& message, size_t i) {
  return std::get<std::filesystem::path>(std::get<Audio>(message.content.at(i)).source);
}

TEST(LoadConversations, ReadsAListOfMessages) {
  const auto conversations = Parse(R"([
      {"role": "0", "content": [{"type": "text", "text": "é"}, {"type": "audio", "path": "a.wav"}]},
      {"role": "12", "content": [{"type": "audio", "url": "/b.wav"}, {"type": "text", "text": ""}]},
      {"role": "1", "content": "plain", "name": "ignored"}])");
  ASSERT_EQ(conversations.size(), 1u);
  const Conversation& messages = conversations[0];
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].role, "0");
  EXPECT_EQ(TextOf(messages[0]), "é");
  EXPECT_EQ(PathOf(messages[0], 1), "folder/a.wav");
  EXPECT_EQ(messages[1].role, "12");
  EXPECT_EQ(PathOf(messages[1], 0), "/b.wav");
  EXPECT_EQ(TextOf(messages[2]), "plain");
}

TEST(LoadConversations, ReadsABatch) {
  const auto conversations = Parse(R"([
      [{"role": "0", "content": "a"}],
      [{"role": "1", "content": "b"}, {"role": "0", "content": "c"}]])");
  ASSERT_EQ(conversations.size(), 2u);
  EXPECT_EQ(conversations[1].size(), 2u);
}

TEST(LoadConversations, SaysWhatIsWrongAndWhere) {
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("list of messages"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("empty"));
  EXPECT_THAT(ErrorOf("[{]"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("conversation 0, message 0: it is an integer"));
  EXPECT_THAT(ErrorOf(R"([[{"role": "0", "content": "a"}], []])"),
              HasSubstr("conversation 1: it has no messages"));
  EXPECT_THAT(ErrorOf(R"([[{"role": "0", "content": "a"}], {}])"),
              HasSubstr("conversation 1: it is an object"));
  EXPECT_THAT(ErrorOf(R"([{"content": "a"}])"), HasSubstr("message 0: role is missing"));
  EXPECT_THAT(ErrorOf(R"([{"role": "0", "content": "a"}, {"role": 1, "content": "a"}])"),
              AllOf(HasSubstr("message 1: role is an integer"), HasSubstr("\"0\"")));
  for (const char* role : {"user", "", "-1", "1.0", " 1", "٣", "0\\u0000"}) {
    EXPECT_THAT(ErrorOf(std::string(R"([{"content": "a", "role": ")") + role + "\"}]"),
                AllOf(HasSubstr("message 0: role"), HasSubstr("not a speaker")));
  }
  EXPECT_THAT(ErrorOf(R"([{"role": "0"}])"), HasSubstr("content is missing"));
  EXPECT_THAT(ErrorOf(R"([{"role": "0", "content": null}])"), HasSubstr("content is null"));
  EXPECT_THAT(ErrorOf(R"([{"role": "0", "content": []}])"), HasSubstr("0 texts and 0 audios"));
}

/// The error of one message with these items of content.
std::string ErrorOfContent(const std::string& items) {
  return ErrorOf(R"([{"role": "0", "content": [)" + items + "]}]");
}

TEST(LoadConversations, SaysWhatIsWrongWithContent) {
  const std::string text = R"({"type": "text", "text": "a"})";
  const std::string audio = R"({"type": "audio", "path": "a.wav"})";
  EXPECT_THAT(ErrorOfContent(text + "," + text), HasSubstr("2 texts and 0 audios"));
  EXPECT_THAT(ErrorOfContent(audio), HasSubstr("0 texts and 1 audios"));
  EXPECT_THAT(ErrorOfContent(text + "," + audio + "," + audio), HasSubstr("1 texts and 2 audios"));
  EXPECT_THAT(ErrorOfContent("\"a\""), HasSubstr("content[0] is a string"));
  EXPECT_THAT(ErrorOfContent(text + R"(, {"type": "image"})"),
              AllOf(HasSubstr("content[1].type is \"image\""), HasSubstr("\"audio\"")));
  EXPECT_THAT(ErrorOfContent("{}"), HasSubstr("content[0].type is missing"));
  EXPECT_THAT(ErrorOfContent(R"({"type": "text"})"), HasSubstr("content[0].text is missing"));
  EXPECT_THAT(ErrorOfContent(R"({"type": "text", "text": 3})"),
              HasSubstr("content[0].text is an integer"));
}

TEST(LoadConversations, SaysWhatIsWrongWithAudio) {
  EXPECT_THAT(ErrorOfContent(R"({"type": "audio"})"), HasSubstr("content[0] has 0 of the keys"));
  EXPECT_THAT(ErrorOfContent(R"({"type": "audio", "path": "a", "url": "b"})"),
              HasSubstr("content[0] has 2 of the keys"));
  EXPECT_THAT(ErrorOfContent(R"({"type": "audio", "url": "https://x.org/a.wav"})"),
              AllOf(HasSubstr("content[0].url"), HasSubstr("https://x.org/a.wav"),
                    HasSubstr("local file")));
  EXPECT_THAT(ErrorOfContent(R"({"type": "audio", "path": "data:audio/wav;base64,AAAA"})"),
              HasSubstr("local file"));
  EXPECT_THAT(ErrorOfContent(R"({"type": "audio", "path": ["a.wav"]})"),
              HasSubstr("content[0].path is a list"));
  EXPECT_THAT(ErrorOfContent(R"({"type": "audio", "path": ""})"), HasSubstr("name of a file"));
  EXPECT_THAT(ErrorOfContent(R"({"type": "audio", "path": "a\u0000b"})"),
              HasSubstr("name of a file"));
}

TEST(LoadConversations, ReadsCodes) {
  const auto conversations = Parse(R"([{"role": "0", "content": [
      {"type": "text", "text": "a"}, {"type": "audio", "codes": [[1, 2], [3, 4], [5, 6]]}]}])");
  const auto& codes = std::get<Codes>(std::get<Audio>(conversations[0][0].content.at(1)).source);
  EXPECT_EQ(codes.num_codebooks, 2);
  EXPECT_EQ(codes.data, (std::vector<int32_t>{1, 2, 3, 4, 5, 6}));
}

TEST(LoadConversations, SaysWhatIsWrongWithCodes) {
  const auto error_of = [](const std::string& codes, const std::string& more = "") {
    return ErrorOfContent(R"({"type": "audio", "codes": )" + codes + more + "}");
  };
  for (const char* codes : {"3", "null", "[]", "[[]]", "[1]", "{}"}) {
    EXPECT_THAT(error_of(codes), HasSubstr("content[0].codes is not a list of frames"));
  }
  EXPECT_THAT(error_of("[[1, 2], [1]]"), HasSubstr("content[0].codes[1] is not a list of 2 codes"));
  EXPECT_THAT(error_of("[[1, 2], 1]"), HasSubstr("codes[1]"));
  for (const char* code : {"-1", "1.5", "\"1\"", "2147483648", "[1]"}) {
    EXPECT_THAT(error_of("[[0], [" + std::string(code) + "]]"), HasSubstr("which is no code"));
  }
  EXPECT_THAT(error_of("[[1]]", R"(, "path": "a.wav")"), HasSubstr("both"));
}

TEST(LoadConversations, HostileFilesAreRefused) {
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), HasSubstr("nested"));
  std::string keys = R"([{"role": "0", "content": "a")";
  for (int i = 0; i < 1000; ++i) keys += ", \"" + std::to_string(i) + "\": 0";
  EXPECT_THAT(ErrorOf(keys + "}]"), HasSubstr("more than 100 keys"));
  EXPECT_THROW(load_conversations("/nonexistent/c.json"), FileError);
}

}  // namespace
}  // namespace csm

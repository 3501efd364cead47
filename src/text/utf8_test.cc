#include "text/utf8.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "text/byte_level.h"

namespace csm::text {
namespace {

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

TEST(Utf8Test, EveryCodePointSurvives) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text = "x";
    AppendUtf8(c, text);
    const DecodedCodePoint last = DecodeLast(text);
    ASSERT_TRUE(last.valid);
    ASSERT_EQ(last.value, c);
    ASSERT_EQ(static_cast<size_t>(last.length) + 1, text.size());
    ASSERT_EQ(ValidUtf8Prefix(text), text.size());
  }
}

TEST(Utf8Test, RepairsAsPython) {
  const auto cases = nlohmann::json::parse(
      ReadFile(std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens" / "tokenizer" / "utf8.json"));
  ASSERT_EQ(cases.size(), 2000u);
  for (const auto& item : cases) {
    EXPECT_EQ(ReplaceInvalidUtf8(FromHex(item[0].get<std::string>())), item[1].get<std::string>())
        << item[0];
  }
}

TEST(Utf8Test, ValidPrefixInLongText) {
  for (size_t i = 0; i < 40; ++i) {
    std::string text(40, 'a');
    text[i] = '\x80';
    EXPECT_EQ(ValidUtf8Prefix(text), i);
  }
}

TEST(ByteLevelTest, EveryByteHasAToken) {
  std::string bytes;
  for (int byte = 0; byte < 256; ++byte) bytes.push_back(static_cast<char>(byte));
  const std::string token = TokenOfBytes(bytes);
  EXPECT_EQ(BytesOfToken(token), bytes);
  EXPECT_EQ(TokenOfBytes(" \n\t\x80"), "ĠĊĉĢ");
}

TEST(ByteLevelTest, OtherCharactersHaveNoBytes) {
  for (const char* token :
       {"\xFF", "\xC3", "\xC3z", "\xC1\x81", " ", "a b", "日", "\u0144", "\u00AD", "😀", "\x7F"}) {
    EXPECT_FALSE(BytesOfToken(token)) << token;
  }
  std::string bytes = "kept";
  EXPECT_FALSE(AppendBytesOfToken("abc日", bytes));
  EXPECT_EQ(bytes, "kept");
}

}  // namespace
}  // namespace csm::text

#include "text/split_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/atomic_file.h"
#include "csm/csm.hpp"
#include "text/regex_splitter.h"
#include "text/utf8.h"

namespace csm::text {
namespace {

using testing::ElementsAre;

std::vector<std::string> Split(std::string_view pattern, std::string_view text) {
  std::vector<std::string> pieces;
  RegexSplitter(pattern, "test").Split(text, [&](auto piece) { pieces.emplace_back(piece); });
  return pieces;
}

bool IsSurrogate(char32_t c) { return c >= 0xD800 && c <= 0xDFFF; }

// The classes hold exactly the code points that they hold in `tokenizers`, whatever PCRE2 knows.
TEST(SplitPatternTest, ClassesAreThoseOfTokenizers) {
  const auto classes = nlohmann::json::parse(ReadFile(std::filesystem::path(CSM_TEST_DATA_DIR) /
                                                      "goldens" / "tokenizer" / "classes.json"));
  for (const auto& [pattern, ranges] : classes.items()) {
    std::vector<bool> expected(0x110000, false);
    for (const auto& range : ranges) {
      for (size_t c = range[0].get<size_t>(); c <= range[1].get<size_t>(); ++c) expected[c] = true;
    }
    const RegexSplitter in_class(pattern, "test");
    const RegexSplitter in_negated("[^" + pattern + "]", "test");
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (IsSurrogate(c)) continue;
      std::string text;  // the splitter gives one piece if it matches all or nothing
      AppendUtf8(c, text);
      AppendUtf8(c, text);
      int num_pieces = 0, num_negated = 0;
      in_class.Split(text, [&](std::string_view) { ++num_pieces; });
      in_negated.Split(text, [&](std::string_view) { ++num_negated; });
      ASSERT_EQ(num_pieces == 2, expected[c]) << pattern << " U+" << std::hex << size_t{c};
      ASSERT_EQ(num_negated == 1, expected[c]) << pattern << " U+" << std::hex << size_t{c};
    }
  }
}

TEST(SplitPatternTest, CaselessIsOnigurumas) {
  // U+017F folds to "s"; the other pieces are from `tokenizers`.
  EXPECT_THAT(Split("(?i:'s|'ll)", "x'S'ſ'lL'LLy'ß"),
              ElementsAre("x", "'S", "'ſ", "'lL", "'LL", "y'ß"));
  EXPECT_THAT(Split("(?i:k)k", "KkK\u212Ak"), ElementsAre("Kk", "K", "\u212Ak"));
}

TEST(SplitPatternTest, NegatedEscapes) {
  EXPECT_THAT(Split(R"(\S+)", "a\u180Eb \u0085c"), ElementsAre("a\u180Eb", " \u0085", "c"));
  EXPECT_THAT(Split(R"(\P{L}+)", "a1\U000105C0-b"), ElementsAre("a", "1", "\U000105C0", "-", "b"));
  EXPECT_THAT(Split(R"(\P{N}{2}|\[)", "ab1[c"), ElementsAre("ab", "1", "[c"));
}

TEST(SplitPatternTest, RefusesWhatCouldDiffer) {
  for (const char* pattern : {"^a",          "a$",        ".",
                              R"(\d)",       R"(\w+)",    R"(\bx)",
                              R"(\p{Lu})",   R"(\p{^L})", R"(\pL)",
                              "[[a]b]",      "[a&&b]",    R"([\S])",
                              R"([^\P{L}])", "[]",        "[",
                              "[a",          "(?<=a)b",   "(?<n>a)",
                              "(?i)a",       "(?x:a)",    "(*LIMIT_MATCH=1)a",
                              "a{2}?",       "a{2}+",     "a{,2}",
                              "a{x}",        "a{2",       "(?i:ss)",
                              "(?i:fi)",     "(?i:é)",    "(?i:[é])",
                              "\\",          "\\x41",     "\\1"}) {
    EXPECT_THROW(RegexSplitter(pattern, "test"), FormatError) << pattern;
  }
  EXPECT_NO_THROW(RegexSplitter(R"((?i:s(?:s|t))|ss|[^\r\n\p{L}a-z\]]?(x|é)++y{1,3}z*?)", "test"));
}

TEST(SplitPatternTest, NamesThePlace) {
  try {
    TranslateSplitPattern("ab\\d", "here");
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("here has an escape other than"));
    EXPECT_THAT(error.what(), testing::HasSubstr("at byte 2 of \"ab\\d\""));
  }
}

TEST(RegexSplitterTest, PiecesAreTheText) {
  EXPECT_TRUE(Split("a", "").empty());
  EXPECT_THAT(Split("aa", "aaabaa"), ElementsAre("aa", "ab", "aa"));
  EXPECT_THAT(Split("(?=b)b|c(?!d)", "abcdc"), ElementsAre("a", "b", "cd", "c"));
}

TEST(RegexSplitterTest, ExponentialPatternsGiveUp) {
  // Failing at "c" would take 2^100 tries. (The last "b" is there because PCRE2 looks for it
  // first.)
  EXPECT_THROW(Split("(?:a|a)+b", std::string(100, 'a') + "cb"), ArgumentError);
}

}  // namespace
}  // namespace csm::text

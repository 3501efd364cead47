#include "checkpoint/model_card.h"

#include <gtest/gtest.h>

namespace csm::checkpoint {
namespace {

constexpr std::string_view kCard =
    "---\r\n"
    "language: [en]\n"
    "license: other  # see the link\n"
    "license_name: 'sesame # research'\n"
    "license_link: https://example.org/a#b\n"
    "prompt: |\n"
    "  ---\n"
    "folded: >-\n"
    "quotes: ''\n"
    "after: 'all'\n"
    "tags:\n"
    "- license: nested\n"
    "empty:\n"
    "---\n"
    "title: not front matter\n";

TEST(ModelCardTest, FindsScalars) {
  EXPECT_EQ(CardValue(kCard, "license"), "other");
  EXPECT_EQ(CardValue(kCard, "license_name"), "sesame # research");
  EXPECT_EQ(CardValue(kCard, "license_link"), "https://example.org/a#b");
  EXPECT_EQ(CardValue(kCard, "after"), "all");
  EXPECT_EQ(CardValue("---\nlicense: \"mit\"", "license"), "mit");
}

TEST(ModelCardTest, FindsNothingElsewhere) {
  for (const char* key :
       {"language", "empty", "tags", "prompt", "folded", "quotes", "title", "licens", "no"}) {
    EXPECT_EQ(CardValue(kCard, key), std::nullopt) << key;
  }
  for (const char* card :
       {"", "license: mit\n", "# Title\n---\nlicense: mit\n---\n", "---", "---\n"}) {
    EXPECT_EQ(CardValue(card, "license"), std::nullopt) << card;
  }
}

}  // namespace
}  // namespace csm::checkpoint

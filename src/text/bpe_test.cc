#include "text/bpe.h"

#include <gtest/gtest.h>

#include <random>

#include "text/tokenizer_json.h"

namespace csm::text {
namespace {

using nlohmann::json;

struct Model {
  explicit Model(const json& file)
      : parsed(ParseTokenizerJson(file.dump(), "test")),
        vocabulary(parsed),
        bpe(parsed, vocabulary) {}

  std::vector<int32_t> Encode(std::string_view piece) const {
    std::vector<int32_t> ids;
    Bpe::Workspace workspace;
    bpe.Encode(piece, vocabulary, workspace, ids);
    return ids;
  }

  TokenizerJson parsed;
  Vocabulary vocabulary;
  Bpe bpe;
};

// The definition: merge the leftmost of the pairs of lowest rank until none is left.
using Merges = std::vector<std::pair<std::string, std::string>>;
std::vector<std::string> EncodeByDefinition(const std::string& piece, const Merges& merges) {
  std::vector<std::string> tokens;
  for (const char c : piece) tokens.emplace_back(1, c);
  while (true) {
    size_t best_rank = merges.size(), best = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      for (size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank] == std::pair(tokens[i], tokens[i + 1])) {
          best_rank = rank;
          best = i;
        }
      }
    }
    if (best_rank == merges.size()) return tokens;
    tokens[best] += tokens[best + 1];
    tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

// Random merges over two letters, in random order: a merge may come before those that it needs.
json RandomModel(std::mt19937& random, Merges& merges) {
  std::vector<std::string> tokens = {"a", "b"};
  merges.clear();
  for (int i = 0; i < 12; ++i) {
    const std::string left = tokens[random() % tokens.size()];
    const std::string right = tokens[random() % tokens.size()];
    const std::string both = left + right;
    const std::pair merge(left, right);
    if (both.size() > 9 || std::find(merges.begin(), merges.end(), merge) != merges.end()) continue;
    merges.push_back(merge);
    if (std::find(tokens.begin(), tokens.end(), both) == tokens.end()) tokens.push_back(both);
  }
  std::shuffle(merges.begin(), merges.end(), random);
  json vocab = json::object();
  for (size_t i = 0; i < tokens.size(); ++i) vocab[tokens[i]] = i;
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

TEST(BpeTest, MergesByDefinition) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    Merges merges;
    const json file = RandomModel(random, merges);
    const Model model(file);
    for (int i = 0; i < 20; ++i) {
      std::string piece;
      for (size_t size = random() % 25; size > 0; --size) piece += random() % 3 == 0 ? 'a' : 'b';
      std::vector<std::string> tokens;
      for (const int32_t id : model.Encode(piece)) {
        tokens.push_back(model.vocabulary.Token(id).value());
      }
      ASSERT_EQ(tokens, EncodeByDefinition(piece, merges)) << piece << file;
    }
  }
}

json BpeFile(const json& vocab, const json& merges) {
  return {{"model", {{"vocab", vocab}, {"merges", merges}}}};
}

TEST(BpeTest, LaterOfEqualMergesWins) {  // as in `tokenizers`
  const Model model(BpeFile({{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}},
                            json::parse(R"(["a b", "b c", "a b"])")));
  EXPECT_EQ(model.Encode("abc"), (std::vector<int32_t>{0, 4}));
}

TEST(BpeTest, MissingBytesAreDropped) {  // as in `tokenizers`
  const Model model(BpeFile({{"a", 0}, {"aa", 1}}, json::parse(R"(["a a"])")));
  EXPECT_EQ(model.Encode("xaxaxa"), (std::vector<int32_t>{1, 0}));
  EXPECT_TRUE(model.Encode("xyz").empty());
}

TEST(BpeTest, LongPiecesAreNotQuadratic) {  // quadratic: 10^12 steps
  const Model model(BpeFile({{"a", 0}, {"aa", 1}}, json::parse(R"(["a a"])")));
  EXPECT_EQ(model.Encode(std::string(1'000'000, 'a')).size(), 500'000u);
}

TEST(MergeTableTest, FindsWhatWasSet) {
  MergeTable table(1000);
  for (int32_t i = 0; i < 1000; ++i) table.Set(i, 1000 - i, {static_cast<uint32_t>(i), i + 7});
  for (int32_t i = 0; i < 1000; ++i) {
    ASSERT_NE(table.Find(i, 1000 - i), nullptr);
    EXPECT_EQ(table.Find(i, 1000 - i)->id, i + 7);
    EXPECT_EQ(table.Find(1000 - i, i + 1), nullptr);
  }
}

}  // namespace
}  // namespace csm::text

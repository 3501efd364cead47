// Against the `tokenizers` library: tests/goldens/tokenizer, made by tools/train_test_tokenizer.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/atomic_file.h"
#include "csm/csm.hpp"

namespace csm {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

std::filesystem::path GoldenDir() {
  return std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens" / "tokenizer";
}

const json& Cases() {
  static const json cases = json::parse(ReadFile(GoldenDir() / "cases.json"));
  return cases;
}

const Tokenizer& TestTokenizer() {
  static const Tokenizer tokenizer = Tokenizer::from_pretrained(GoldenDir());
  return tokenizer;
}

// The test tokenizer with a change to its file.
Tokenizer Variant(const std::function<void(json&)>& change) {
  json file = json::parse(ReadFile(GoldenDir() / "tokenizer.json"));
  change(file);
  const auto path = std::filesystem::path(testing::TempDir()) / "csm_variant_tokenizer.json";
  std::ofstream(path) << file;
  return Tokenizer::from_file(path);
}

// Every case is [text, ids].
void ExpectCases(const Tokenizer& tokenizer, const json& cases) {
  ASSERT_FALSE(cases.empty());
  size_t num_failures = 0;
  for (const json& item : cases) {
    const auto text = item[0].get<std::string>();
    const Ids ids = tokenizer.encode(text);
    if (ids == item[1].get<Ids>()) continue;
    ADD_FAILURE() << "text: " << item[0] << "\nids: " << json(ids) << "\nexpected: " << item[1];
    if (++num_failures == 5) break;
  }
}

// 64-bit FNV-1a over little-endian int32, each list ended by -1; as in the tool.
class IdHash {
 public:
  void Add(const Ids& ids) {
    for (const int32_t id : ids) AddWord(static_cast<uint32_t>(id));
    AddWord(0xFFFFFFFF);
  }
  std::string hex() const {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value_));
    return text;
  }

 private:
  void AddWord(uint32_t word) {
    for (int shift = 0; shift < 32; shift += 8) {
      value_ = (value_ ^ (word >> shift & 0xFF)) * 0x100000001B3;
    }
  }
  uint64_t value_ = 0xCBF29CE484222325;
};

// [unit, repetitions, end, number of ids, hash].
void ExpectLongCases(const Tokenizer& tokenizer, const json& cases) {
  ASSERT_FALSE(cases.empty());
  for (const json& item : cases) {
    std::string text;
    for (int i = 0; i < item[1].get<int>(); ++i) text += item[0].get<std::string>();
    text += item[2].get<std::string>();
    const Ids ids = tokenizer.encode(text);
    IdHash hash;
    hash.Add(ids);
    EXPECT_EQ(ids.size(), item[3].get<size_t>()) << item;
    EXPECT_EQ(hash.hex(), item[4].get<std::string>()) << item;
    EXPECT_EQ(tokenizer.decode(ids), text) << item;
  }
}

json ByteLevel(bool prefix, bool regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", prefix},
          {"trim_offsets", true},
          {"use_regex", regex}};
}

json AddedToken(std::string_view content, const std::vector<std::string>& flags) {
  json token = {{"id", 5000}, {"content", content}};
  for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
    token[flag] = std::find(flags.begin(), flags.end(), flag) != flags.end();
  }
  return token;
}

TEST(TokenizerTest, EncodesAsTokenizers) {
  ASSERT_GE(Cases()["cases"].size(), 10'000u);
  ExpectCases(TestTokenizer(), Cases()["cases"]);
}

TEST(TokenizerTest, DecodingInvertsEncoding) {
  for (const json& item : Cases()["cases"]) {
    const auto text = item[0].get<std::string>();
    EXPECT_EQ(TestTokenizer().decode(TestTokenizer().encode(text)), text);
  }
}

TEST(TokenizerTest, DecodesAsTokenizers) {
  for (const json& item : Cases()["decode"]) {
    const auto ids = item[0].get<Ids>();
    EXPECT_EQ(TestTokenizer().decode(ids), item[1].get<std::string>()) << item[0];
    EXPECT_EQ(TestTokenizer().decode(ids, true), item[2].get<std::string>()) << item[0];
  }
  EXPECT_EQ(TestTokenizer().decode(Ids{-1, 1 << 30, 64}), "a");
}

TEST(TokenizerTest, LongTextIsLinear) { ExpectLongCases(TestTokenizer(), Cases()["long"]); }

TEST(TokenizerTest, MergesAsStringsAreMergesAsPairs) {
  const Tokenizer tokenizer = Variant([](json& file) {
    json merges = {"#version: 0.2"};
    for (const json& pair : file["model"]["merges"]) {
      merges.push_back(pair[0].get<std::string>() + ' ' + pair[1].get<std::string>());
    }
    file["model"]["merges"] = merges;
  });
  ExpectCases(tokenizer, Cases()["cases"]);
}

TEST(TokenizerTest, VocabularyAfterMerges) {  // keys may come in any order
  const std::string text = ReadFile(GoldenDir() / "tokenizer.json");
  auto file = nlohmann::ordered_json::parse(text);
  const auto vocab = file["model"]["vocab"];
  file["model"].erase("vocab");
  file["model"]["vocab"] = vocab;
  const auto path = std::filesystem::path(testing::TempDir()) / "csm_reordered_tokenizer.json";
  std::ofstream(path) << file;
  EXPECT_EQ(Tokenizer::from_file(path).encode("the voice"), TestTokenizer().encode("the voice"));
}

TEST(TokenizerTest, WithoutIgnoreMerges) {
  ExpectCases(Variant([](json& file) { file["model"]["ignore_merges"] = false; }),
              Cases()["variant merges"]);
}

TEST(TokenizerTest, AddedTokens) {
  const Tokenizer tokenizer = Variant([](json& file) {
    json& added = file["added_tokens"];
    added.push_back(AddedToken("[word]", {"single_word"}));
    added.push_back(AddedToken("[left]", {"lstrip"}));
    added.push_back(AddedToken("[right]", {"rstrip"}));
    added.push_back(AddedToken("[both]", {"lstrip", "rstrip", "single_word"}));
    added.push_back(AddedToken("[norm]", {"normalized"}));
    added.push_back(AddedToken("[norm][word]", {"normalized", "rstrip"}));
    added.push_back(AddedToken("<|AUDIO|><|", {"special"}));
    added.push_back(AddedToken("voice", {"single_word", "special"}));
    added.push_back(AddedToken(" é ", {}));
  });
  ExpectCases(tokenizer, Cases()["variant added_tokens"]);
  // "voice" is special and in the vocabulary: merging must not make it of ordinary text.
  const int32_t voice = tokenizer.token_to_id("voice").value();
  EXPECT_THAT(tokenizer.encode("voice"), testing::ElementsAre(voice));
  for (const char* text : {"voice", "a voice", "[word]voice"}) {
    const Ids ids = tokenizer.encode(text, {.parse_special = false});
    EXPECT_THAT(ids, testing::Not(testing::Contains(voice)));
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(TokenizerTest, Gpt2Split) {
  ExpectCases(Variant([](json& file) { file["pre_tokenizer"] = ByteLevel(true, true); }),
              Cases()["variant gpt2_split"]);
}

TEST(TokenizerTest, PrefixSpacePerPiece) {
  ExpectCases(Variant([](json& file) {
                file["pre_tokenizer"]["pretokenizers"][1] = ByteLevel(true, false);
              }),
              Cases()["variant prefix_space"]);
}

TEST(TokenizerTest, NoSplit) {
  ExpectCases(Variant([](json& file) { file["pre_tokenizer"] = ByteLevel(false, false); }),
              Cases()["variant no_split"]);
}

TEST(TokenizerTest, SpecialTokensAreTextUnlessParsed) {
  const std::string text = "<|begin_of_text|>[0]Hi<|AUDIO|><|audio_eos|>";
  const Tokenizer& tokenizer = TestTokenizer();
  const int32_t first_special = tokenizer.token_to_id("<|begin_of_text|>").value();
  const Ids parsed = tokenizer.encode(text);
  EXPECT_EQ(parsed.front(), first_special);
  EXPECT_EQ(parsed.back(), tokenizer.token_to_id("<|audio_eos|>"));
  const Ids plain = tokenizer.encode(text, {.parse_special = false});
  EXPECT_THAT(plain, testing::Each(testing::Lt(first_special)));
  EXPECT_EQ(tokenizer.decode(plain, true), text);
  EXPECT_EQ(tokenizer.decode(parsed, true), "[0]Hi");
}

TEST(TokenizerTest, TemplateAddsBosAndEos) {
  const Tokenizer& tokenizer = TestTokenizer();
  const int32_t bos = tokenizer.token_to_id("<|begin_of_text|>").value();
  const int32_t eos = tokenizer.token_to_id("<|end_of_text|>").value();
  EXPECT_THAT(tokenizer.encode("", {.add_special_tokens = true}), testing::ElementsAre(bos, eos));
  EXPECT_THAT(tokenizer.encode("a", {.add_special_tokens = true}),
              testing::ElementsAre(bos, tokenizer.token_to_id("a").value(), eos));
  const Tokenizer without = Variant([](json& file) { file["post_processor"] = nullptr; });
  EXPECT_TRUE(without.encode("", {.add_special_tokens = true}).empty());
}

TEST(TokenizerTest, TokensAndIds) {
  const Tokenizer& tokenizer = TestTokenizer();
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::optional<std::string> token = tokenizer.id_to_token(id);
    ASSERT_TRUE(token) << id;
    EXPECT_EQ(tokenizer.token_to_id(*token), id);
  }
  EXPECT_EQ(tokenizer.vocab_size(), 764);
  EXPECT_FALSE(tokenizer.id_to_token(-1));
  EXPECT_FALSE(tokenizer.id_to_token(764));
  EXPECT_FALSE(tokenizer.token_to_id("no such token"));
  EXPECT_FALSE(tokenizer.token_to_id("\xFF"));
}

TEST(TokenizerTest, InvalidUtf8IsReplaced) {
  const Tokenizer& tokenizer = TestTokenizer();
  EXPECT_EQ(tokenizer.encode("a\xFF<|AUDIO|>\xE2\x82"), tokenizer.encode("a\uFFFD<|AUDIO|>\uFFFD"));
}

TEST(TokenizerTest, SharedByThreads) {
  const Ids expected = TestTokenizer().encode("The voice is heard again, isn't it?");
  std::vector<std::thread> threads;
  std::vector<int> num_equal(4);
  for (int& count : num_equal) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        count += TestTokenizer().encode("The voice is heard again, isn't it?") == expected;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(num_equal, testing::Each(200));
}

// Llama-3's file may not be shared: the test runs for who has it, against hashes of ids.
TEST(TokenizerTest, Llama3) {
  const char* path = std::getenv("CSM_LLAMA3_TOKENIZER");
  if (path == nullptr) GTEST_SKIP() << "set CSM_LLAMA3_TOKENIZER to Llama-3's tokenizer.json";
  const Tokenizer tokenizer = Tokenizer::from_file(path);
  const json& cases = Cases()["cases"];
  const json& hashes = Cases()["llama3 hashes"];
  constexpr size_t kBlock = 500;
  ASSERT_EQ(hashes.size(), (cases.size() + kBlock - 1) / kBlock);
  for (size_t block = 0; block < hashes.size(); ++block) {
    IdHash hash;
    for (size_t i = block * kBlock; i < std::min(cases.size(), (block + 1) * kBlock); ++i) {
      hash.Add(tokenizer.encode(cases[i][0].get<std::string>()));
    }
    EXPECT_EQ(hash.hex(), hashes[block].get<std::string>()) << "cases from " << block * kBlock;
  }
  ExpectLongCases(tokenizer, Cases()["llama3 long"]);
}

}  // namespace
}  // namespace csm

// What a tokenizer.json can have wrong, and what is not supported: each is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "csm/csm.hpp"

namespace csm {
namespace {

using nlohmann::json;

std::string LoadError(const std::string& content) {
  const auto path = std::filesystem::path(testing::TempDir()) / "csm_bad_tokenizer.json";
  std::ofstream(path) << content;
  try {
    Tokenizer::from_file(path);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "no error";
}

std::string Golden() {
  return ReadFile(std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens/tokenizer/tokenizer.json");
}

struct BadFile {
  const char* name;
  std::function<void(json&)> change;
  const char* message;  // a part of it
};

json Split(const char* pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json& FirstSplit(json& file) { return file["pre_tokenizer"]["pretokenizers"][0]; }
json& Template(json& file) { return file["post_processor"]["processors"][1]; }

const BadFile kBadFiles[] = {
    {"NoModel", [](json& f) { f.erase("model"); }, "has no \"model\""},
    {"ModelType", [](json& f) { f["model"]["type"] = "Unigram"; },
     "model.type is \"Unigram\"; only \"BPE\""},
    {"NoVocab", [](json& f) { f["model"].erase("vocab"); }, "has no \"vocab\""},
    {"NoMerges", [](json& f) { f["model"].erase("merges"); }, "has no list of \"merges\""},
    {"VocabList", [](json& f) { f["model"]["vocab"] = json::array(); }, "has no \"vocab\""},
    {"VocabNegativeId", [](json& f) { f["model"]["vocab"]["x y"] = -1; },
     "model.vocab holds number"},
    {"VocabHugeId", [](json& f) { f["model"]["vocab"]["x y"] = 4294967295; },
     "the id 4294967295; ids up to 4194303"},
    {"VocabStringId", [](json& f) { f["model"]["vocab"]["x y"] = "1"; },
     "model.vocab holds string"},
    {"VocabNested", [](json& f) { f["model"]["vocab"]["x y"] = json::object(); },
     "model.vocab holds an object"},
    {"VocabSameId", [](json& f) { f["model"]["vocab"]["zz zz"] = 0; }, "gives the id 0 to both"},
    {"MergeOfOne", [](json& f) { f["model"]["merges"][0] = "ab"; }, "a merge is two tokens"},
    {"MergeOfThree",
     [](json& f) {
       f["model"]["merges"][0] = {"a", "b", "c"};
     },
     "has 3 strings"},
    {"MergeOfNumbers",
     [](json& f) {
       f["model"]["merges"][0] = {1, 2};
     },
     "model.merges holds number"},
    {"MergeUnknown",
     [](json& f) {
       f["model"]["merges"][0] = {"日", "b"};
     },
     "model.merges[0] has \"日\""},
    {"MergeMakesUnknown",
     [](json& f) {
       f["model"]["merges"][0] = {"Ā", "Ā"};
     },
     "makes \"ĀĀ\", which is not in the vocabulary"},
    {"Dropout", [](json& f) { f["model"]["dropout"] = 0.1; }, "model.dropout is 0.1"},
    {"Prefix", [](json& f) { f["model"]["continuing_subword_prefix"] = "##"; },
     "continuing_subword_prefix is \"##\""},
    {"Suffix", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; },
     "end_of_word_suffix is \"</w>\""},
    {"IgnoreMergesType", [](json& f) { f["model"]["ignore_merges"] = 1; },
     "model.ignore_merges is a number"},
    {"UnknownToken",
     [](json& f) {
       f["model"]["vocab"].erase("Ā");
       f["model"]["unk_token"] = "!";
     },
     "unk_token is \"!\", but the vocabulary lacks"},
    {"ByteFallback",
     [](json& f) {
       f["model"]["vocab"].erase("Ā");
       f["model"]["byte_fallback"] = true;
     },
     "byte_fallback is true, but the vocabulary lacks"},
    {"Normalizer",
     [](json& f) {
       f["normalizer"] = {{"type", "NFC"}};
     },
     "normalizer.type is \"NFC\""},
    {"NoPreTokenizer", [](json& f) { f["pre_tokenizer"] = nullptr; }, "does not end in"},
    {"PreTokenizerType", [](json& f) { FirstSplit(f)["type"] = "Whitespace"; },
     "pretokenizers[0].type is \"Whitespace\""},
    {"AfterByteLevel", [](json& f) { f["pre_tokenizer"]["pretokenizers"].push_back(Split("a")); },
     "pretokenizers[2] is a \"Split\" after \"ByteLevel\""},
    {"Behavior", [](json& f) { FirstSplit(f)["behavior"] = "Removed"; }, "behavior is \"Removed\""},
    {"Invert", [](json& f) { FirstSplit(f)["invert"] = true; }, "invert is true"},
    {"StringPattern",
     [](json& f) {
       FirstSplit(f)["pattern"] = {{"String", " "}};
     },
     "pattern is a String"},
    {"EmptyMatch", [](json& f) { FirstSplit(f) = Split("a*"); }, "matches the empty string"},
    {"BrokenPattern", [](json& f) { FirstSplit(f) = Split("(a"); }, "is not a valid pattern"},
    {"PostProcessorType", [](json& f) { Template(f)["type"] = "BertProcessing"; },
     "processors[1].type is \"BertProcessing\""},
    {"TemplateOfPair", [](json& f) { Template(f)["single"][1]["Sequence"]["id"] = "B"; },
     "single[1].Sequence.id is \"B\""},
    {"TemplateTwice", [](json& f) { Template(f)["single"].push_back(Template(f)["single"][1]); },
     "single[3] repeats the text"},
    {"TemplateUnknown", [](json& f) { Template(f)["single"][0]["SpecialToken"]["id"] = "<bos>"; },
     "special_tokens has no \"<bos>\""},
    {"TemplateIds",
     [](json& f) { Template(f)["special_tokens"]["<|begin_of_text|>"]["ids"] = {-1}; },
     "ids holds -1"},
    {"DecoderMissing", [](json& f) { f.erase("decoder"); }, "decoder is missing"},
    {"Decoder",
     [](json& f) {
       f["decoder"] = {{"type", "BPEDecoder"}};
     },
     "decoder.type is \"BPEDecoder\""},
    {"AddedTokensType", [](json& f) { f["added_tokens"] = 1; }, "added_tokens is a number"},
    {"AddedTokenFlag", [](json& f) { f["added_tokens"][1].erase("lstrip"); },
     "added_tokens[1] has no \"lstrip\""},
};

class BadTokenizerFileTest : public testing::TestWithParam<BadFile> {};

TEST_P(BadTokenizerFileTest, IsRefusedByName) {
  json file = json::parse(Golden());
  GetParam().change(file);
  const std::string message = LoadError(file.dump());
  EXPECT_THAT(message, testing::HasSubstr(GetParam().message));
  EXPECT_THAT(message, testing::HasSubstr("csm_bad_tokenizer.json"));
}

INSTANTIATE_TEST_SUITE_P(, BadTokenizerFileTest, testing::ValuesIn(kBadFiles),
                         [](const auto& param_info) { return param_info.param.name; });

TEST(TokenizerErrorsTest, BrokenJson) {
  const std::string golden = Golden();
  for (size_t size : {size_t{0}, size_t{1}, size_t{500}, golden.size() / 2, golden.size() - 3}) {
    EXPECT_THAT(LoadError(golden.substr(0, size)), testing::HasSubstr("is not valid JSON")) << size;
  }
  EXPECT_THAT(LoadError("[]"), testing::HasSubstr("a tokenizer is an object"));
  EXPECT_THAT(LoadError("{\"a\": \"\xFF\"}"), testing::HasSubstr("is not valid JSON"));
  EXPECT_THAT(LoadError(std::string(100'000, '[')), testing::HasSubstr("nested more than"));
  EXPECT_THAT(LoadError(R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})"),
              testing::HasSubstr("model.vocab has \"a\" twice"));
  EXPECT_THAT(LoadError(R"({"model": {"vocab": {}, "vocab": {}, "merges": []}})"),
              testing::HasSubstr("model.vocab appears twice"));
}

TEST(TokenizerErrorsTest, MissingFile) {
  EXPECT_THROW(Tokenizer::from_pretrained("/nonexistent"), FileError);
}

// What `tokenizers` accepts without a word, so do we.
TEST(TokenizerErrorsTest, HarmlessSettings) {
  json file = json::parse(Golden());
  file["truncation"] = {{"max_length", 3}};
  file["padding"] = {{"pad_id", 0}};
  file["model"].erase("type");
  file["model"]["dropout"] = 0.0;
  file["model"]["unk_token"] = "!";
  file["model"]["byte_fallback"] = true;
  file["model"]["continuing_subword_prefix"] = "";
  file["model"]["end_of_word_suffix"] = nullptr;
  file["something_new"] = {{"model", {{"vocab", {{"a", "b"}}}}}};
  EXPECT_EQ(LoadError(file.dump()), "no error");
}

}  // namespace
}  // namespace csm

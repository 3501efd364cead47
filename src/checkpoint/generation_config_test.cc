#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "checkpoint/generation_json.h"
#include "checkpoint/json_file.h"
#include "checkpoint/test_files.h"

namespace csm::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

GenerationConfig ParseGeneration(const char* text) {
  return ParseGenerationConfig(ParseConfigJson(text, "g.json"), "g.json", 32);
}

std::string ErrorOfGeneration(const char* text) {
  return MessageOf<FormatError>([&] { ParseGeneration(text); });
}

TEST(GenerationConfig, ReadsThePublishedForm) {
  const GenerationConfig config = ParseGeneration(
      R"({"_from_model_config":true,"bos_token_id":128000,"depth_decoder__from_model_config":true,
          "depth_decoder_do_sample":true,"depth_decoder_temperature":0.7,"depth_decoder_top_k":5,
          "depth_decoder_max_new_tokens":31,"depth_decoder_min_new_tokens":31,"do_sample":true,
          "max_new_tokens":125,"pad_token_id":128002,"temperature":0.9,"top_k":50,
          "repetition_penalty":1.0,"num_beams":1,"suppress_tokens":[],"min_new_tokens":5,
          "transformers_version":"4.54.0"})");
  EXPECT_TRUE(config.do_sample);
  EXPECT_EQ(config.temperature, 0.9);
  EXPECT_EQ(config.max_new_tokens, 125);
  EXPECT_TRUE(config.depth_decoder.do_sample);
  EXPECT_EQ(config.depth_decoder.temperature, 0.7);
  EXPECT_EQ(config.depth_decoder.top_k, 5);
}

TEST(GenerationConfig, NullsAndAbsenceAreDefaults) {
  EXPECT_EQ(ParseGeneration("{}"), GenerationConfig());
  EXPECT_EQ(ParseGeneration(
                R"({"do_sample":null,"temperature":null,"top_k":null,"min_p":null,"num_beams":null,
                      "bad_words_ids":null,"max_length":null,"depth_decoder_top_p":null,
                      "depth_decoder_max_new_tokens":null})"),
            GenerationConfig());
  const TemporaryFolder dir;
  EXPECT_EQ(GenerationConfig::from_pretrained(dir.path()), GenerationConfig());
}

TEST(GenerationConfig, RefusesWhatIsNotSupported) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"num_beams":4})", "num_beams is set"},
      {R"({"penalty_alpha":0.6})", "greedily or by sampling"},
      {R"({"repetition_penalty":1.2})", "repetition_penalty is set"},
      {R"({"depth_decoder_repetition_penalty":1.2})", "depth_decoder_repetition_penalty is set"},
      {R"({"no_repeat_ngram_size":3})", "no_repeat_ngram_size"},
      {R"({"bad_words_ids":[[1]]})", "bad_words_ids"},
      {R"({"suppress_tokens":[1]})", "suppress_tokens"},
      {R"({"max_time":3.5})", "CSM stops at"},
      {R"({"stop_strings":["x"]})", "stop_strings"},
      {R"({"min_new_tokens":5,"eos_token_id":3})", "min_new_tokens is 5 and eos_token_id is 3"},
      {R"({"depth_decoder_max_new_tokens":7})", "depth_decoder_max_new_tokens is 7, expected num"},
      {R"({"depth_decoder_min_new_tokens":30})", "= 31"},
      {R"({"do_sample":1})", "do_sample is 1, expected true or false"},
      {R"({"depth_decoder_top_k":"5"})", "depth_decoder_top_k is \"5\", expected an integer"},
      {R"({"do_sample":true,"temperature":0.0})", "temperature is 0, expected a number above 0"},
      {R"({"max_new_tokens":0})", "max_new_tokens is 0"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_THAT(ErrorOfGeneration(text), AllOf(HasSubstr("g.json: "), HasSubstr(expected))) << text;
  }
}

TEST(GenerationConfig, WritesWhatItReads) {
  GenerationConfig config;
  config.do_sample = true;
  config.temperature = 0.5;
  config.min_p = 0.25;
  config.top_k = 0;
  config.max_length = 77;
  config.depth_decoder.do_sample = true;
  config.depth_decoder.top_p = 0.75;
  const TemporaryFolder dir;
  config.save_pretrained(dir / "new");
  EXPECT_EQ(GenerationConfig::from_pretrained(dir / "new"), config);
  const Json json = ReadConfigJson(dir / "new/generation_config.json");
  EXPECT_EQ(json.size(), 7u);
  EXPECT_EQ(json["depth_decoder_top_p"], 0.75);

  config.temperature = -1;
  EXPECT_THROW(config.save_pretrained(dir / "other"), ArgumentError);
  EXPECT_FALSE(std::filesystem::exists(dir / "other"));
}

// What transformers' warpers accept and refuse, at the borders.
TEST(GenerationConfig, ValidatesTheRangesOfTransformers) {
  struct Case {
    const char* option;
    std::function<void(SamplingConfig&, double)> set;
    std::vector<double> good;
    std::vector<double> bad;
  };
  const std::vector<Case> cases = {
      {"temperature",
       [](auto& c, double x) { c.temperature = x; },
       {1e-9, 1, 100},
       {0, -1, NAN, INFINITY}},
      {"top_h", [](auto& c, double x) { c.top_h = x; }, {0.1, 1}, {0, 1.1, NAN}},
      {"top_k", [](auto& c, double x) { c.top_k = static_cast<int64_t>(x); }, {0, 1, 5000}, {-1}},
      {"top_p", [](auto& c, double x) { c.top_p = x; }, {0, 0.5, 1}, {-0.1, 1.1, NAN}},
      {"min_p", [](auto& c, double x) { c.min_p = x; }, {0, 1}, {-0.1, 1.1, NAN}},
      {"typical_p", [](auto& c, double x) { c.typical_p = x; }, {0.1, 1}, {0, 1.1, NAN}},
      {"epsilon_cutoff", [](auto& c, double x) { c.epsilon_cutoff = x; }, {0, 0.9}, {-1, 1, NAN}},
      {"eta_cutoff", [](auto& c, double x) { c.eta_cutoff = x; }, {0, 0.9}, {-1, 1, NAN}},
  };
  for (const Case& test : cases) {
    for (const double value : test.good) {
      GenerationConfig config;
      config.do_sample = config.depth_decoder.do_sample = true;
      test.set(config, value);
      test.set(config.depth_decoder, value);
      EXPECT_NO_THROW(config.validate()) << test.option << " " << value;
    }
    for (const double value : test.bad) {
      GenerationConfig config;
      test.set(config, value);
      EXPECT_NO_THROW(config.validate()) << "greedy ignores " << test.option;
      config.do_sample = true;
      EXPECT_THAT(MessageOf<ArgumentError>([&] { config.validate(); }),
                  ::testing::StartsWith(test.option));
      GenerationConfig depth;
      depth.depth_decoder.do_sample = true;
      test.set(depth.depth_decoder, value);
      EXPECT_THAT(MessageOf<ArgumentError>([&] { depth.validate(); }),
                  ::testing::StartsWith(std::string("depth_decoder_") + test.option));
    }
  }
}

TEST(GenerationConfig, ValidatesCounts) {
  GenerationConfig config;
  config.num_return_sequences = 2;
  EXPECT_THAT(MessageOf<ArgumentError>([&] { config.validate(); }), HasSubstr("do_sample"));
  config.do_sample = true;
  EXPECT_NO_THROW(config.validate());
  config.num_return_sequences = 0;
  EXPECT_THAT(MessageOf<ArgumentError>([&] { config.validate(); }),
              HasSubstr("num_return_sequences is 0, expected 1 or more"));
  config = {};
  config.max_length = -1;
  EXPECT_THROW(config.validate(), ArgumentError);
}

}  // namespace
}  // namespace csm::checkpoint

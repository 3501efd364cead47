// Reading and writing config.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/config_reader.h"
#include "checkpoint/json_file.h"
#include "checkpoint/test_files.h"

namespace csm::checkpoint {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

CsmConfig ParseConfig(const Json& json) { return ParseCsmConfig(json, "config.json"); }

CsmConfig ParseText(const char* text) { return ParseConfig(ParseConfigJson(text, "config.json")); }

/// The tiny config with `patch` merged over it (RFC 7396, so null removes a key; see WithNull).
CsmConfig Patched(const char* patch) {
  Json json = ToJson(TinyConfig());
  json.merge_patch(Json::parse(patch));
  return ParseConfig(json);
}

CsmConfig WithNull(const char* pointer) {
  Json json = ToJson(TinyConfig());
  json[Json::json_pointer(pointer)] = nullptr;
  return ParseConfig(json);
}

std::string PatchError(const char* patch) {
  return MessageOf<FormatError>([&] { Patched(patch); });
}

TEST(Config, EmptyObjectsGiveTransformersDefaults) {
  // The defaults of CsmConfig() in transformers 5.23 are those of the published csm-1b but for
  // RoPE, which is plain without a dict.
  const CsmConfig config = ParseText("{}");
  EXPECT_EQ(config, CsmConfig());
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.depth_decoder_config.head_dim, 128);
  EXPECT_EQ(config.codec_config.head_dim, 64);
  EXPECT_EQ(config.codec_config.frame_rate, 12.5);
  EXPECT_EQ(config.rope_parameters.rope_type, "default");
  EXPECT_EQ(config.rope_parameters.rope_theta, 500000);
  EXPECT_EQ(config.codec_config.rope_parameters.rope_theta, 10000);
  EXPECT_EQ(ParseText(R"({"depth_decoder_config":null,"codec_config":null})"), CsmConfig());
}

TEST(Config, DerivesWhatIsNullOrAbsent) {
  const CsmConfig no_head_dim = WithNull("/head_dim");
  EXPECT_EQ(no_head_dim.head_dim, 6);
  EXPECT_EQ(WithNull("/num_key_value_heads").num_key_value_heads, 2);
  EXPECT_EQ(WithNull("/depth_decoder_config/head_dim").depth_decoder_config.head_dim, 2);
  EXPECT_EQ(WithNull("/codec_config/head_dim").codec_config.head_dim, 4);
  EXPECT_EQ(Patched(R"({"codec_config":{"head_dim":0}})").codec_config.head_dim, 4);
  EXPECT_THAT(WithNull("/codec_config/upsampling_ratios").codec_config.upsampling_ratios,
              ElementsAre(8, 6, 5, 4));
  EXPECT_EQ(WithNull("/bos_token_id").bos_token_id, std::nullopt);
  EXPECT_EQ(Patched(R"({"eos_token_id":[3,4]})").eos_token_id, 3);
  EXPECT_FALSE(WithNull("/tie_codebooks_embeddings").tie_codebooks_embeddings);
}

TEST(Config, KnowsTheAliasOfVocabSize) {
  const char* patch =
      R"({"codebook_size":11,"vocab_size":99,"depth_decoder_config":{"codebook_size":11,
          "vocab_size":null}})";
  const CsmConfig config = Patched(patch);
  EXPECT_EQ(config.vocab_size, 11);
  EXPECT_EQ(config.depth_decoder_config.vocab_size, 11);
  EXPECT_EQ(config.codec_config.codebook_size, 8);
}

TEST(Config, FollowsTheRulesOfFrameRate) {
  const auto rate = [](const char* patch) { return Patched(patch).codec_config.frame_rate; };
  EXPECT_EQ(rate(R"({"codec_config":{"_frame_rate":6.25}})"), 6.25);
  EXPECT_EQ(rate(R"({"codec_config":{"frame_rate":6.25,"_frame_rate":null}})"), 6.25);
  EXPECT_EQ(rate(R"({"codec_config":{"frame_rate":6.25,"_frame_rate":12.5}})"), 12.5);
  EXPECT_EQ(rate(R"({"codec_config":{"upsampling_ratios":[4,3]}})"), 1000);
  Json json = ToJson(TinyConfig());  // its _frame_rate is null, which beats the older key
  json["codec_config"]["frame_rate"] = 6.25;
  EXPECT_EQ(ParseConfig(json).codec_config.frame_rate, 12.5);
}

RopeParameters Rope(const char* fields) {
  Json json = ToJson(TinyConfig());
  json.erase("rope_parameters");
  json.update(Json::parse(fields));
  return ParseConfig(json).rope_parameters;
}

TEST(Config, FollowsThePrecedenceOfRopeKeys) {
  const RopeParameters v5 = Rope(
      R"({"rope_parameters":{"rope_type":"llama3","rope_theta":7.0,"factor":2,"low_freq_factor":0.5,
          "high_freq_factor":3.0,"original_max_position_embeddings":16}})");
  EXPECT_EQ(v5, (RopeParameters{"llama3", 7, 2, 0.5, 3, 16}));
  const RopeParameters v4 = Rope(
      R"({"rope_theta":7.0,"rope_scaling":{"type":"llama3","factor":2.0,"low_freq_factor":0.5,
          "high_freq_factor":3.0,"original_max_position_embeddings":16},
          "rope_parameters":{"rope_type":"default","rope_theta":9.0}})");
  EXPECT_EQ(v4, v5);

  EXPECT_EQ(Rope(R"({})"), RopeParameters());
  EXPECT_EQ(Rope(R"({"rope_theta":7.0})").rope_theta, 7);
  EXPECT_EQ(Rope(R"({"rope_theta":7.0,"rope_parameters":{"rope_theta":9.0}})").rope_theta, 9);
  EXPECT_EQ(Rope(R"({"rope_scaling":{},"rope_parameters":{"rope_theta":9.0}})").rope_theta, 9);
  EXPECT_EQ(Rope(R"({"rope_scaling":null,"rope_theta":9.0})").rope_theta, 9);
  // rope_type beats the legacy "type"; what plain RoPE does not use is left alone.
  EXPECT_EQ(Rope(R"({"rope_scaling":{"type":"llama3","rope_type":"default","factor":2.0}})"),
            RopeParameters());
  const RopeParameters no_original = Rope(
      R"({"rope_scaling":{"rope_type":"llama3","factor":2.0,"low_freq_factor":1,
          "high_freq_factor":4}})");
  EXPECT_EQ(no_original.original_max_position_embeddings, 2048);
}

TEST(Config, RefusesRopeItDoesNotKnow) {
  const auto error = [](const char* fields) {
    return MessageOf<FormatError>([&] { Rope(fields); });
  };
  EXPECT_THAT(
      error(R"({"rope_parameters":{"rope_type":"yarn"}})"),
      HasSubstr("rope_parameters.rope_type is \"yarn\", expected \"default\" or \"llama3\""));
  EXPECT_THAT(error(R"({"rope_scaling":{"type":"llama3","factor":2.0}})"),
              HasSubstr("rope_scaling.low_freq_factor is missing"));
  EXPECT_THAT(error(R"({"rope_scaling":{"type":"llama3","factor":2,"low_freq_factor":0,
                        "high_freq_factor":4}})"),
              HasSubstr("low_freq_factor is 0, expected a number above 0"));
  EXPECT_THAT(error(R"({"partial_rotary_factor":0.5,"rope_scaling":{"type":"llama3","factor":2,
                        "low_freq_factor":1,"high_freq_factor":4}})"),
              HasSubstr("partial_rotary_factor is 0.5"));
  EXPECT_THAT(error(R"({"rope_parameters":"x"})"),
              HasSubstr("rope_parameters is \"x\", expected an"));
  EXPECT_THAT(error(R"({"rope_theta":-1})"), HasSubstr("rope_theta is -1"));
}

TEST(Config, NamesFileKeyAndWhatWasFound) {
  EXPECT_EQ(PatchError(R"({"hidden_size":"big"})"),
            "config.json: hidden_size is \"big\", expected an integer");
  EXPECT_EQ(PatchError(R"({"codec_config":{"num_filters":1.5}})"),
            "config.json: codec_config.num_filters is 1.5, expected an integer");
  EXPECT_EQ(PatchError(R"({"depth_decoder_config":{"mlp_bias":0}})"),
            "config.json: depth_decoder_config.mlp_bias is 0, expected true or false");
  EXPECT_THAT(PatchError(R"({"hidden_size":18446744073709551615})"), HasSubstr("an integer"));
  EXPECT_THAT(PatchError(R"({"rms_norm_eps":"1e-5"})"), HasSubstr("expected a number"));
  EXPECT_THAT(PatchError(R"({"hidden_act":[]})"), HasSubstr("is a list, expected a string"));
  EXPECT_THAT(PatchError(R"({"codec_config":{"upsampling_ratios":8}})"),
              HasSubstr("expected a list of integers"));
  EXPECT_THAT(PatchError(R"({"codec_config":{"upsampling_ratios":[8,"6"]}})"),
              HasSubstr("expected an integer"));
  EXPECT_THAT(PatchError(R"({"codec_config":7})"), HasSubstr("codec_config is 7, expected an obj"));
  EXPECT_THAT(PatchError(R"({"model_type":"llama"})"), HasSubstr("\"llama\", expected \"csm\""));
  EXPECT_THAT(PatchError(R"({"codec_config":{"model_type":"encodec"}})"),
              HasSubstr("codec_config.model_type is \"encodec\", expected \"mimi\""));
  EXPECT_THAT(PatchError(R"({"backbone_flavor":"llama-1B"})"), HasSubstr("Sesame's original"));
}

// Every rule: a patch that breaks it, and what the message must say.
TEST(Config, ChecksEveryRule) {
  const std::pair<const char*, const char*> rules[] = {
      {R"({"hidden_size":-1})", "hidden_size is -1, expected 1 to 1048576"},
      {R"({"hidden_size":9223372036854775807})", "hidden_size is 9223372036854775807"},
      {R"({"num_hidden_layers":0})", "num_hidden_layers is 0"},
      {R"({"num_hidden_layers":1000000})", "num_hidden_layers is 1000000"},
      {R"({"num_attention_heads":0})", "num_attention_heads is 0"},
      {R"({"num_attention_heads":3,"num_key_value_heads":2})",
       "num_attention_heads is 3, expected a multiple of num_key_value_heads, 2"},
      {R"({"num_key_value_heads":4})", "num_key_value_heads is 4, expected 1 to 2"},
      {R"({"head_dim":5})", "head_dim is 5, expected an even number"},
      {R"({"hidden_act":"gelu"})", "hidden_act is \"gelu\", expected \"silu\""},
      {R"({"rms_norm_eps":0})", "rms_norm_eps is 0, expected a number above 0"},
      {R"({"max_position_embeddings":0})", "max_position_embeddings is 0"},
      {R"({"num_codebooks":1})", "num_codebooks is 1, expected 2 to 1024"},
      {R"({"num_codebooks":4})",
       "depth_decoder_config.num_codebooks is 3, expected 4 as in num_codebooks"},
      {R"({"vocab_size":12})", "depth_decoder_config.vocab_size is 11, expected 12"},
      {R"({"depth_decoder_config":{"backbone_hidden_size":13}})",
       "depth_decoder_config.backbone_hidden_size is 13, expected 12 as in hidden_size"},
      {R"({"text_vocab_size":0})", "text_vocab_size is 0"},
      {R"({"audio_token_id":9})", "audio_token_id is 9, expected 0 to 8"},
      {R"({"audio_eos_token_id":-1})", "audio_eos_token_id is -1"},
      {R"({"codebook_pad_token_id":11})", "codebook_pad_token_id is 11, expected 0 to 10"},
      {R"({"codebook_eos_token_id":[0]})", "codebook_eos_token_id is a list"},
      {R"({"codec_config":{"num_quantizers":2}})",
       "codec_config.num_quantizers is 2, expected at least num_codebooks, 3"},
      {R"({"codec_config":{"codebook_size":16}})",
       "codec_config.codebook_size is 16, expected at most vocab_size, 11"},
      {R"({"codec_config":{"audio_channels":2}})", "audio_channels is 2, expected 1"},
      {R"({"codec_config":{"use_causal_conv":false}})", "use_causal_conv is false"},
      {R"({"codec_config":{"trim_right_ratio":0.5}})", "trim_right_ratio is 0.5"},
      {R"({"codec_config":{"pad_mode":"reflect"}})", "pad_mode is \"reflect\""},
      {R"({"codec_config":{"hidden_act":"silu"}})", "codec_config.hidden_act is \"silu\""},
      {R"({"codec_config":{"num_semantic_quantizers":3}})", "num_semantic_quantizers is 3"},
      {R"({"codec_config":{"codebook_dim":5}})",
       "vector_quantization_hidden_dimension is 4, expected 5 as in codebook_dim"},
      {R"({"codec_config":{"upsampling_ratios":[0]}})", "upsampling_ratios is 0"},
      {R"({"codec_config":{"upsampling_ratios":[1048576,1048576]}})", "product of"},
      {R"({"codec_config":{"upsampling_ratios":[2,2,2,2,2,2,2,2,2,2,2,2,2]}})", "number of"},
      {R"({"codec_config":{"compress":3}})", "compress is 3, expected 1 to 2"},
      {R"({"codec_config":{"num_residual_layers":-1}})", "num_residual_layers is -1"},
      {R"({"codec_config":{"num_residual_layers":99}})", "dilation_growth_rate^"},
      {R"({"codec_config":{"_frame_rate":25}})", "_frame_rate is 25, expected at most half"},
      {R"({"codec_config":{"_frame_rate":1e-300}})", "_frame_rate is 1e-300"},
      {R"({"codec_config":{"_frame_rate":10}})", "_frame_rate is 10, expected 12.5"},
      {R"({"codec_config":{"upsample_groups":3}})", "upsample_groups is 3, expected a divisor"},
      {R"({"codec_config":{"sliding_window":0}})", "sliding_window is 0"},
      {R"({"codec_config":{"rope_parameters":{"rope_type":"llama3","factor":1,
          "low_freq_factor":1,"high_freq_factor":4}}})",
       "codec_config.rope_parameters.rope_type is \"llama3\""},
  };
  for (const auto& [patch, expected] : rules) {
    EXPECT_THAT(PatchError(patch), AllOf(HasSubstr("config.json: "), HasSubstr(expected))) << patch;
  }
  EXPECT_THAT(MessageOf<FormatError>([] { WithNull("/codec_config/encoder_config"); }),
              HasSubstr("codec_config.encoder_config is null"));
}

TEST(Config, WritesWhatItReads) {
  CsmConfig config = TinyConfig();
  config.rope_parameters = {"llama3", 5e5, 32, 0.125, 0.5, 1024};
  config.attention_bias = true;
  config.eos_token_id = 4;
  config.tie_codebooks_embeddings = false;
  config.codec_config.frame_rate = 6.25;
  const TemporaryFolder dir;
  config.save_pretrained(dir / "made/on/demand");
  EXPECT_EQ(CsmConfig::from_pretrained(dir / "made/on/demand"), config);

  const Json json = ReadConfigJson(dir / "made/on/demand/config.json");
  EXPECT_EQ(json["model_type"], "csm");
  EXPECT_EQ(json["tie_word_embeddings"], false);
  EXPECT_EQ(json["pad_token_id"], 7);
  EXPECT_EQ(json["codec_config"]["_frame_rate"], 6.25);
  EXPECT_TRUE(json["rms_norm_eps"].is_number_float());
  EXPECT_EQ(json["codec_config"]["rope_parameters"].size(), 2u);
  EXPECT_TRUE(ToJson(TinyConfig())["codec_config"]["_frame_rate"].is_null());
  EXPECT_THROW(CsmConfig::from_pretrained(dir.path()), FileError);
}

TEST(Config, DoesNotWriteWhatItWouldRefuse) {
  CsmConfig config = TinyConfig();
  config.head_dim = 3;
  const TemporaryFolder dir;
  EXPECT_THROW(config.save_pretrained(dir.path()), FormatError);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Config, KeepsKeysItDoesNotKnow) {
  Json json = Json::parse(R"({"a":1,"nested":{"b":2},"rope_parameters":{"x":1}})");
  KeepUnknownKeys(Json::parse(R"({"a":9,"new":[1],"nested":{"c":3},"rope_theta":1.0,
                                  "torch_dtype":"x","rope_parameters":{"type":"y"}})"),
                  json);
  EXPECT_EQ(json, Json::parse(R"({"a":1,"nested":{"b":2,"c":3},"rope_parameters":{"x":1},
                                  "new":[1]})"));
}

TEST(Config, RefusesHugeFiles) {
  const TemporaryFolder dir;
  WriteText(dir / "config.json", "{}" + std::string(kMaxConfigBytes, ' '));
  EXPECT_THAT(MessageOf<FormatError>([&] { CsmConfig::from_pretrained(dir.path()); }),
              HasSubstr("larger than"));
}

}  // namespace
}  // namespace csm::checkpoint

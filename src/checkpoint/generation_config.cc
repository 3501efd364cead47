#include <cmath>
#include <initializer_list>
#include <system_error>

#include "base/error.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/generation_json.h"
#include "checkpoint/json_file.h"
#include "checkpoint/model_dir.h"

namespace csm {
namespace checkpoint {
namespace {

// A setting of HF's generate() that is not supported, and the values with which it does nothing.
struct Unsupported {
  const char* key;
  std::initializer_list<const char*> harmless;  // as JSON; null always is
  const char* reason;
};

constexpr char kNoBeams[] = "CSM generates greedily or by sampling only";
constexpr char kNoHistory[] = "processors that look at earlier ids do not fit frames of codes";
constexpr char kNoProcessor[] = "this logits processor is not supported";
constexpr char kNoStop[] = "CSM stops at an all-zero frame or at the length limit only";

const Unsupported kUnsupported[] = {
    {"num_beams", {"1"}, kNoBeams},
    {"num_beam_groups", {"1"}, kNoBeams},
    {"penalty_alpha", {"0", "0.0"}, kNoBeams},
    {"dola_layers", {}, kNoBeams},
    {"prompt_lookup_num_tokens", {}, kNoBeams},
    {"force_words_ids", {}, kNoBeams},
    {"constraints", {}, kNoBeams},
    {"repetition_penalty", {"1", "1.0"}, kNoHistory},
    {"no_repeat_ngram_size", {"0"}, kNoHistory},
    {"bad_words_ids", {}, kNoHistory},
    {"sequence_bias", {}, kNoHistory},
    {"exponential_decay_length_penalty", {}, kNoHistory},
    {"forced_bos_token_id", {}, kNoProcessor},
    {"forced_eos_token_id", {}, kNoProcessor},
    {"suppress_tokens", {"[]"}, kNoProcessor},
    {"begin_suppress_tokens", {"[]"}, kNoProcessor},
    {"guidance_scale", {"1", "1.0"}, kNoProcessor},
    {"watermarking_config", {}, kNoProcessor},
    {"renormalize_logits", {"false"}, kNoProcessor},
    {"max_time", {}, kNoStop},
    {"stop_strings", {}, kNoStop},
};

bool IsHarmless(const Json& value, const Unsupported& setting) {
  if (value.is_null()) return true;
  for (const char* harmless : setting.harmless) {
    if (value == Json::parse(harmless)) return true;
  }
  return false;
}

void CheckSupported(const Json& json, const std::string& file) {
  for (const char* prefix : {"", "depth_decoder_"}) {
    for (const Unsupported& setting : kUnsupported) {
      const std::string key = std::string(prefix) + setting.key;
      const auto value = json.find(key);
      if (value == json.end() || IsHarmless(*value, setting)) continue;
      Fail<FormatError>("{}: {} is set, expected it not to be: {}", file, key, setting.reason);
    }
  }
}

// HF masks the end token while the output is shorter than these, if there is an end token; over
// codes that would forbid an ordinary code.
void CheckMinLength(const Json& json, const FieldReader& reader) {
  if (!reader.Has("eos_token_id")) return;
  for (const char* key : {"min_length", "min_new_tokens"}) {
    int64_t length = 0;
    reader(key, length);
    if (length > 0) {
      Fail<FormatError>(
          "{} is {} and eos_token_id is {}, expected one of them only: a least "
          "length by a masked token is not supported",
          reader.place()(key), length, json.at("eos_token_id").dump());
    }
  }
}

// A frame has num_codebooks codes, the depth decoder makes all but the first. 0 means unset.
void CheckDepthLength(const FieldReader& reader, int64_t num_codebooks) {
  for (const char* key : {"depth_decoder_min_new_tokens", "depth_decoder_max_new_tokens"}) {
    int64_t length = 0;
    reader(key, length);
    if (length != 0 && length != num_codebooks - 1) {
      Fail<FormatError>("{} is {}, expected num_codebooks - 1 = {}", reader.place()(key), length,
                        num_codebooks - 1);
    }
  }
}

void Expect(bool ok, const std::string& option, double value, const char* expected) {
  if (!ok) Fail<ArgumentError>("{} is {}, expected {}", option, value, expected);
}

// What HF's warpers accept. They are only made, and so only checked, when sampling: published
// checkpoints hold {"do_sample": false, "temperature": 0.0}.
void ValidateSampling(const SamplingConfig& config, const std::string& prefix) {
  if (!config.do_sample) return;
  const auto in = [](double value, double low, double high) {
    return value >= low && value <= high;
  };
  Expect(config.temperature > 0 && std::isfinite(config.temperature), prefix + "temperature",
         config.temperature, "a number above 0 (do_sample = false chooses the likeliest)");
  if (config.top_h) {
    Expect(*config.top_h > 0 && *config.top_h <= 1, prefix + "top_h", *config.top_h,
           "a number above 0, at most 1");
  }
  if (config.top_k < 0) {
    Fail<ArgumentError>("{}top_k is {}, expected 0 (off) or more", prefix, config.top_k);
  }
  Expect(in(config.top_p, 0, 1), prefix + "top_p", config.top_p, "a number from 0 to 1 (1: off)");
  if (config.min_p) {
    Expect(in(*config.min_p, 0, 1), prefix + "min_p", *config.min_p, "a number from 0 to 1");
  }
  Expect(config.typical_p > 0 && config.typical_p <= 1, prefix + "typical_p", config.typical_p,
         "a number above 0, at most 1 (1: off)");
  Expect(config.epsilon_cutoff >= 0 && config.epsilon_cutoff < 1, prefix + "epsilon_cutoff",
         config.epsilon_cutoff, "a number from 0 (off), below 1");
  Expect(config.eta_cutoff >= 0 && config.eta_cutoff < 1, prefix + "eta_cutoff", config.eta_cutoff,
         "a number from 0 (off), below 1");
}

void CheckCache(std::string_view option, const std::optional<std::string>& value) {
  if (!value || *value == "static" || *value == "dynamic") return;
  Fail<ArgumentError>("{} is \"{:.60}\", expected \"static\" or \"dynamic\"", option, *value);
}

}  // namespace

GenerationConfig ParseGenerationConfig(const Json& json, const std::string& file,
                                       std::optional<int64_t> num_codebooks) {
  const FieldReader reader(json, {file});
  CheckSupported(json, file);
  CheckMinLength(json, reader);
  if (num_codebooks) CheckDepthLength(reader, *num_codebooks);
  GenerationConfig config;
  GenerationConfig::visit_fields(config, reader);
  try {
    config.validate();
  } catch (const ArgumentError& error) {
    Fail<FormatError>("{}: {}", file, error.what());
  }
  return config;
}

GenerationConfig ReadGenerationConfig(const std::filesystem::path& dir,
                                      std::optional<int64_t> num_codebooks) {
  const std::filesystem::path path = dir / "generation_config.json";
  if (!ModelFileExists(path)) return {};
  return ParseGenerationConfig(ReadConfigJson(path), path.string(), num_codebooks);
}

}  // namespace checkpoint

GenerationConfig GenerationConfig::from_pretrained(const std::filesystem::path& dir) {
  return checkpoint::ReadGenerationConfig(checkpoint::ResolveModelDir(dir));
}

void GenerationConfig::save_pretrained(const std::filesystem::path& dir) const {
  validate();
  checkpoint::WriteConfigJson(dir, "generation_config.json", checkpoint::ToJson(*this));
}

void GenerationConfig::validate() const {
  checkpoint::ValidateSampling(*this, "");
  checkpoint::ValidateSampling(depth_decoder, "depth_decoder_");
  const auto at_least_one = [](const char* option, int64_t value) {
    if (value < 1) Fail<ArgumentError>("{} is {}, expected 1 or more", option, value);
  };
  if (max_new_tokens) at_least_one("max_new_tokens", *max_new_tokens);
  if (max_length) at_least_one("max_length", *max_length);
  at_least_one("num_return_sequences", num_return_sequences);
  constexpr int64_t kMaxSequences = 1 << 16;  // more than any machine holds caches for
  if (num_return_sequences > kMaxSequences) {
    Fail<ArgumentError>("num_return_sequences is {}, expected at most {}", num_return_sequences,
                        kMaxSequences);
  }
  checkpoint::CheckCache("cache_implementation", cache_implementation);
  checkpoint::CheckCache("depth_decoder_cache_implementation", depth_decoder_cache_implementation);
  if (num_return_sequences > 1 && !do_sample) {
    Fail<ArgumentError>(
        "num_return_sequences is {}, expected 1 unless do_sample is true: greedy sequences of one "
        "prompt are all the same",
        num_return_sequences);
  }
}

}  // namespace csm

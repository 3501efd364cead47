#include "checkpoint/config_rules.h"

#include <cmath>
#include <string_view>

#include "base/error.h"
#include "checkpoint/config_reader.h"

namespace csm::checkpoint {
namespace {

// Far beyond any model of this kind, and small enough that a product of three sizes fits 64 bits.
constexpr int64_t kMaxSize = 1 << 20;
constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxPositions = 1 << 24;
constexpr int64_t kMaxLayers = 512;
constexpr int64_t kMaxCodebooks = 1024;
constexpr int64_t kMaxRatios = 12;

class Rules {
 public:
  explicit Rules(FieldPlace place) : place_(std::move(place)) {}

  void Range(std::string_view key, int64_t value, int64_t min, int64_t max) const {
    if (value < min || value > max) {
      Fail<FormatError>("{} is {}, expected {} to {}", place_(key), value, min, max);
    }
  }
  void Size(std::string_view key, int64_t value) const { Range(key, value, 1, kMaxSize); }

  void Positive(std::string_view key, double value) const {
    if (!(value > 0) || !std::isfinite(value)) {
      Fail<FormatError>("{} is {}, expected a number above 0", place_(key), value);
    }
  }
  void Equal(std::string_view key, int64_t value, std::string_view other, int64_t expected) const {
    if (value != expected) {
      Fail<FormatError>("{} is {}, expected {} as in {}", place_(key), value, expected, other);
    }
  }
  void Text(std::string_view key, const std::string& value, std::string_view expected) const {
    if (value != expected) {
      Fail<FormatError>("{} is \"{:.60}\", expected \"{}\"", place_(key), value, expected);
    }
  }
  template <typename Value>
  [[noreturn]] void Wrong(std::string_view key, const Value& value,
                          std::string_view expected) const {
    Fail<FormatError>("{} is {}, expected {}", place_(key), value, expected);
  }

 private:
  FieldPlace place_;
};

template <typename Config>
void CheckAttention(const Config& config, const Rules& rules) {
  rules.Size("hidden_size", config.hidden_size);
  rules.Size("intermediate_size", config.intermediate_size);
  rules.Size("num_attention_heads", config.num_attention_heads);
  rules.Range("num_key_value_heads", config.num_key_value_heads, 1, config.num_attention_heads);
  rules.Range("head_dim", config.head_dim, 2, kMaxSize);
  rules.Range("max_position_embeddings", config.max_position_embeddings, 1, kMaxPositions);
  if (config.head_dim % 2 != 0) {
    rules.Wrong("head_dim", config.head_dim, "an even number, because RoPE rotates pairs");
  }
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    rules.Wrong("num_attention_heads", config.num_attention_heads,
                fmt::format("a multiple of num_key_value_heads, {}", config.num_key_value_heads));
  }
}

void CheckRope(const RopeParameters& rope, const Rules& rules) {
  rules.Positive("rope_parameters.rope_theta", rope.rope_theta);
  if (rope.rope_type == "default") return;
  if (rope.rope_type != "llama3") {
    rules.Wrong("rope_parameters.rope_type", fmt::format("\"{:.60}\"", rope.rope_type),
                "\"default\" or \"llama3\"");
  }
  rules.Positive("rope_parameters.factor", rope.factor);
  rules.Positive("rope_parameters.low_freq_factor", rope.low_freq_factor);
  rules.Positive("rope_parameters.high_freq_factor", rope.high_freq_factor);
  rules.Range("rope_parameters.original_max_position_embeddings",
              rope.original_max_position_embeddings, 1, kMaxPositions);
}

void CheckLlama(const LlamaConfig& config, const Rules& rules) {
  rules.Range("num_codebooks", config.num_codebooks, 2, kMaxCodebooks);
  rules.Size("vocab_size", config.vocab_size);
  rules.Range("num_hidden_layers", config.num_hidden_layers, 1, kMaxLayers);
  CheckAttention(config, rules);
  rules.Text("hidden_act", config.hidden_act, "silu");
  rules.Positive("rms_norm_eps", config.rms_norm_eps);
  CheckRope(config.rope_parameters, rules);
}

// The variants that transformers' code has beyond the published codec.
void CheckMimiVariants(const MimiConfig& config, const Rules& rules) {
  if (!config.use_causal_conv) {
    rules.Wrong("use_causal_conv", config.use_causal_conv, "true: others cannot stream");
  }
  if (config.trim_right_ratio != 1.0) {
    rules.Wrong("trim_right_ratio", config.trim_right_ratio, "1: others cannot stream");
  }
  if (config.audio_channels != 1) rules.Wrong("audio_channels", config.audio_channels, "1");
  if (config.pad_mode != "constant" && config.pad_mode != "replicate") {
    rules.Wrong("pad_mode", fmt::format("\"{:.60}\"", config.pad_mode),
                "\"constant\" or \"replicate\"");
  }
  rules.Text("hidden_act", config.hidden_act, "gelu");
  rules.Text("rope_parameters.rope_type", config.rope_parameters.rope_type, "default");
  rules.Positive("rope_parameters.rope_theta", config.rope_parameters.rope_theta);
}

void CheckMimiConvolutions(const MimiConfig& config, const Rules& rules) {
  rules.Size("num_filters", config.num_filters);
  rules.Range("number of upsampling_ratios", static_cast<int64_t>(config.upsampling_ratios.size()),
              1, kMaxRatios);
  int64_t hop = 1;
  int64_t channels = config.num_filters;
  for (const int64_t ratio : config.upsampling_ratios) {
    rules.Size("upsampling_ratios", ratio);
    rules.Size("product of upsampling_ratios", hop *= ratio);
    rules.Size("num_filters * 2^(number of upsampling_ratios)", channels *= 2);
  }
  rules.Size("kernel_size", config.kernel_size);
  rules.Size("last_kernel_size", config.last_kernel_size);
  rules.Size("residual_kernel_size", config.residual_kernel_size);
  rules.Range("compress", config.compress, 1, config.num_filters);
  rules.Range("num_residual_layers", config.num_residual_layers, 0, kMaxLayers);
  rules.Size("dilation_growth_rate", config.dilation_growth_rate);
  int64_t dilation = 1;
  for (int64_t j = 1; j < config.num_residual_layers; ++j) {
    rules.Size("dilation_growth_rate^(num_residual_layers - 1)",
               dilation *= config.dilation_growth_rate);
  }
}

void CheckMimiQuantizer(const MimiConfig& config, const Rules& rules) {
  rules.Size("codebook_size", config.codebook_size);
  rules.Size("codebook_dim", config.codebook_dim);
  rules.Range("num_quantizers", config.num_quantizers, 2, kMaxCodebooks);
  rules.Range("num_semantic_quantizers", config.num_semantic_quantizers, 1,
              config.num_quantizers - 1);
  rules.Equal("vector_quantization_hidden_dimension", config.vector_quantization_hidden_dimension,
              "codebook_dim", config.codebook_dim);
}

// HF: ceil(samples per second / product of ratios) transformer steps per second.
double StepsPerSecond(const MimiConfig& config) { return std::ceil(config.encodec_frame_rate()); }

int64_t Hop(const MimiConfig& config) {
  int64_t hop = 1;
  for (const int64_t ratio : config.upsampling_ratios) hop *= ratio;
  return hop;
}

void CheckMimiRates(const MimiConfig& config, const Rules& rules) {
  rules.Range("sampling_rate", config.sampling_rate, 1, kMaxPositions);
  rules.Positive("_frame_rate", config.frame_rate);
  const double stride = StepsPerSecond(config) / config.frame_rate;
  if (!(stride >= 2 && stride <= kMaxSize)) {
    rules.Wrong("_frame_rate", config.frame_rate,
                fmt::format("at most half of the transformer's {}", StepsPerSecond(config)));
  }
  const int64_t frame_size = Hop(config) * static_cast<int64_t>(stride);
  if (frame_size != config.frame_size()) {
    rules.Wrong(
        "_frame_rate", config.frame_rate,
        fmt::format("{}, because the codec's layers make frames of {} samples",
                    static_cast<double>(config.sampling_rate) / static_cast<double>(frame_size),
                    frame_size));
  }
  rules.Range("upsample_groups", config.upsample_groups, 1, config.hidden_size);
  if (config.hidden_size % config.upsample_groups != 0) {
    rules.Wrong("upsample_groups", config.upsample_groups,
                fmt::format("a divisor of hidden_size, {}", config.hidden_size));
  }
}

void CheckTokens(const CsmConfig& config, const Rules& rules) {
  rules.Range("text_vocab_size", config.text_vocab_size, 1, kMaxVocabulary);
  rules.Range("audio_token_id", config.audio_token_id, 0, config.text_vocab_size - 1);
  rules.Range("audio_eos_token_id", config.audio_eos_token_id, 0, config.text_vocab_size - 1);
  rules.Range("codebook_pad_token_id", config.codebook_pad_token_id, 0, config.vocab_size - 1);
  rules.Range("codebook_eos_token_id", config.codebook_eos_token_id, 0, config.vocab_size - 1);
}

}  // namespace

int64_t LatentStride(const MimiConfig& config) {
  return static_cast<int64_t>(StepsPerSecond(config) / config.frame_rate);
}

double DerivedFrameRate(const MimiConfig& config) { return config.encodec_frame_rate() / 2; }

void CheckConfig(const MimiConfig& config, const std::string& file, const std::string& prefix) {
  const Rules rules({file, prefix});
  CheckMimiVariants(config, rules);
  CheckMimiConvolutions(config, rules);
  CheckAttention(config, rules);
  rules.Range("num_hidden_layers", config.num_hidden_layers, 0, kMaxLayers);
  rules.Positive("norm_eps", config.norm_eps);
  rules.Size("sliding_window", config.sliding_window);
  CheckMimiQuantizer(config, rules);
  CheckMimiRates(config, rules);
}

void CheckConfig(const CsmConfig& config, const std::string& file) {
  const Rules rules({file});
  CheckLlama(config, rules);
  CheckTokens(config, rules);

  const CsmDepthDecoderConfig& depth = config.depth_decoder_config;
  const Rules depth_rules({file, "depth_decoder_config."});
  CheckLlama(depth, depth_rules);
  depth_rules.Equal("num_codebooks", depth.num_codebooks, "num_codebooks", config.num_codebooks);
  depth_rules.Equal("vocab_size", depth.vocab_size, "vocab_size", config.vocab_size);
  depth_rules.Equal("backbone_hidden_size", depth.backbone_hidden_size, "hidden_size",
                    config.hidden_size);

  const MimiConfig& codec = config.codec_config;
  CheckConfig(codec, file, "codec_config.");
  const Rules codec_rules({file, "codec_config."});
  if (codec.num_quantizers < config.num_codebooks) {
    codec_rules.Wrong("num_quantizers", codec.num_quantizers,
                      fmt::format("at least num_codebooks, {}", config.num_codebooks));
  }
  if (codec.codebook_size > config.vocab_size) {
    codec_rules.Wrong("codebook_size", codec.codebook_size,
                      fmt::format("at most vocab_size, {}", config.vocab_size));
  }
}

}  // namespace csm::checkpoint

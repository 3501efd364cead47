#include "mimi/config_check.h"

#include <cmath>
#include <string_view>

#include "base/error.h"

namespace csm::mimi {
namespace {

// Far beyond any codec, and small enough that products of two sizes and of all ratios fit 64 bits.
constexpr int64_t kMaxSize = 1 << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxRatios = 12;

void CheckRange(std::string_view name, int64_t value, int64_t min, int64_t max) {
  if (value < min || value > max) {
    Fail<FormatError>("the codec's {} is {}; it must be {} to {}", name, value, min, max);
  }
}

void CheckPositive(std::string_view name, double value) {
  if (!(value > 0) || !std::isfinite(value)) {
    Fail<FormatError>("the codec's {} is {}; it must be above 0", name, value);
  }
}

// The variants that transformers' code has beyond the published codec.
void CheckVariants(const MimiConfig& config) {
  if (!config.use_causal_conv) {
    Fail<FormatError>("the codec's use_causal_conv is false; only causal convolutions can stream");
  }
  if (config.audio_channels != 1) {
    Fail<FormatError>("the codec's audio_channels is {}; only mono is supported, 1",
                      config.audio_channels);
  }
  if (config.trim_right_ratio != 1.0) {
    Fail<FormatError>("the codec's trim_right_ratio is {}; only 1 can stream",
                      config.trim_right_ratio);
  }
  if (config.pad_mode != "constant" && config.pad_mode != "replicate") {
    Fail<FormatError>("the codec's pad_mode is \"{}\"; supported are \"constant\", \"replicate\"",
                      config.pad_mode);
  }
  if (config.hidden_act != "gelu") {
    Fail<FormatError>("the codec's hidden_act is \"{}\"; only \"gelu\" is supported",
                      config.hidden_act);
  }
  if (config.rope_parameters.rope_type != "default") {
    Fail<FormatError>("the codec's rope_type is \"{}\"; only \"default\" is supported",
                      config.rope_parameters.rope_type);
  }
}

void CheckSeanet(const MimiConfig& config) {
  CheckRange("num_filters", config.num_filters, 1, kMaxSize);
  CheckRange("number of upsampling_ratios", static_cast<int64_t>(config.upsampling_ratios.size()),
             1, kMaxRatios);
  int64_t hop = 1;
  int64_t channels = config.num_filters;
  for (const int64_t ratio : config.upsampling_ratios) {
    CheckRange("upsampling_ratios", ratio, 1, kMaxSize);
    hop *= ratio;
    channels *= 2;
    CheckRange("product of upsampling_ratios", hop, 1, kMaxSize);
    CheckRange("number of channels of the deepest SEANet layer", channels, 1, kMaxSize);
  }
  CheckRange("kernel_size", config.kernel_size, 1, kMaxSize);
  CheckRange("last_kernel_size", config.last_kernel_size, 1, kMaxSize);
  CheckRange("residual_kernel_size", config.residual_kernel_size, 1, kMaxSize);
  CheckRange("compress", config.compress, 1, config.num_filters);
  CheckRange("num_residual_layers", config.num_residual_layers, 0, kMaxLayers);
  CheckRange("dilation_growth_rate", config.dilation_growth_rate, 1, kMaxSize);
  int64_t dilation = 1;
  for (int64_t j = 1; j < config.num_residual_layers; ++j) {
    dilation *= config.dilation_growth_rate;
    CheckRange("largest dilation", dilation, 1, kMaxSize);
  }
}

void CheckTransformer(const MimiConfig& config) {
  CheckRange("hidden_size", config.hidden_size, 1, kMaxSize);
  CheckRange("intermediate_size", config.intermediate_size, 1, kMaxSize);
  CheckRange("num_hidden_layers", config.num_hidden_layers, 0, kMaxLayers);
  CheckRange("num_attention_heads", config.num_attention_heads, 1, kMaxSize);
  CheckRange("num_key_value_heads", config.num_key_value_heads, 1, config.num_attention_heads);
  CheckRange("head_dim", config.head_dim, 2, kMaxSize);
  CheckRange("sliding_window", config.sliding_window, 1, kMaxSize);
  CheckPositive("norm_eps", config.norm_eps);
  CheckPositive("rope_theta", config.rope_parameters.rope_theta);
  if (config.head_dim % 2 != 0) {
    Fail<FormatError>("the codec's head_dim is {}; it must be even", config.head_dim);
  }
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    Fail<FormatError>(
        "the codec's num_attention_heads, {}, must be a multiple of its "
        "num_key_value_heads, {}",
        config.num_attention_heads, config.num_key_value_heads);
  }
}

void CheckQuantizer(const MimiConfig& config) {
  CheckRange("codebook_size", config.codebook_size, 1, kMaxSize);
  CheckRange("codebook_dim", config.codebook_dim, 1, kMaxSize);
  CheckRange("num_quantizers", config.num_quantizers, 2, kMaxLayers);
  CheckRange("num_semantic_quantizers", config.num_semantic_quantizers, 1,
             config.num_quantizers - 1);
  if (config.vector_quantization_hidden_dimension != config.codebook_dim) {
    Fail<FormatError>(
        "the codec's vector_quantization_hidden_dimension, {}, must equal its "
        "codebook_dim, {}",
        config.vector_quantization_hidden_dimension, config.codebook_dim);
  }
}

void CheckRates(const MimiConfig& config) {
  CheckRange("sampling_rate", config.sampling_rate, 1, int64_t{1} << 30);
  CheckPositive("frame_rate", config.frame_rate);
  int64_t hop = 1;
  for (const int64_t ratio : config.upsampling_ratios) hop *= ratio;
  CheckRange("ratio of encodec_frame_rate to frame_rate", LatentStride(config), 1, kMaxSize);
  if (config.frame_rate == std::ceil(config.encodec_frame_rate())) {
    Fail<FormatError>("the codec's frame_rate is {}, that of its transformer; it must be lower",
                      config.frame_rate);
  }
  if (hop * LatentStride(config) != config.frame_size()) {
    Fail<FormatError>("the codec's frame_rate {} means {} samples a frame, but its layers make {}",
                      config.frame_rate, config.frame_size(), hop * LatentStride(config));
  }
  CheckRange("upsample_groups", config.upsample_groups, 1, config.hidden_size);
  if (config.hidden_size % config.upsample_groups != 0) {
    Fail<FormatError>("the codec's hidden_size, {}, must be a multiple of its upsample_groups, {}",
                      config.hidden_size, config.upsample_groups);
  }
}

}  // namespace

int64_t LatentStride(const MimiConfig& config) {
  const double stride = std::ceil(config.encodec_frame_rate()) / config.frame_rate;
  return stride >= 1 && stride <= kMaxSize ? static_cast<int64_t>(stride) : 0;
}

void CheckConfig(const MimiConfig& config) {
  CheckVariants(config);
  CheckSeanet(config);
  CheckTransformer(config);
  CheckQuantizer(config);
  CheckRates(config);
}

}  // namespace csm::mimi

#include "mimi/config_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace csm::mimi {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

struct BadConfig {
  const char* message;
  std::function<void(MimiConfig&)> spoil;
};

TEST(ConfigCheckTest, TakesThePublishedCodec) {
  EXPECT_NO_THROW(CheckConfig(MimiConfig()));
  EXPECT_EQ(LatentStride(MimiConfig()), 2);
}

TEST(ConfigCheckTest, NamesTheFieldAtFault) {
  const BadConfig cases[] = {
      {"use_causal_conv is false", [](MimiConfig& c) { c.use_causal_conv = false; }},
      {"audio_channels is 2", [](MimiConfig& c) { c.audio_channels = 2; }},
      {"trim_right_ratio is 0.5", [](MimiConfig& c) { c.trim_right_ratio = 0.5; }},
      {"pad_mode is \"reflect\"", [](MimiConfig& c) { c.pad_mode = "reflect"; }},
      {"hidden_act is \"relu\"", [](MimiConfig& c) { c.hidden_act = "relu"; }},
      {"rope_type is \"yarn\"", [](MimiConfig& c) { c.rope_parameters.rope_type = "yarn"; }},
      {"num_filters is 0", [](MimiConfig& c) { c.num_filters = 0; }},
      {"number of upsampling_ratios is 0", [](MimiConfig& c) { c.upsampling_ratios = {}; }},
      {"upsampling_ratios is -8",
       [](MimiConfig& c) {
         c.upsampling_ratios = {-8, 6, 5, 4};
       }},
      {"product of upsampling_ratios",
       [](MimiConfig& c) {
         c.upsampling_ratios = {1 << 20, 1 << 20, 1 << 20, 1 << 20};
       }},
      {"deepest SEANet layer", [](MimiConfig& c) { c.num_filters = 1 << 20; }},
      {"compress is 65", [](MimiConfig& c) { c.compress = 65; }},
      {"largest dilation",
       [](MimiConfig& c) {
         c.num_residual_layers = 100;
         c.dilation_growth_rate = 1000;
       }},
      {"head_dim is 63", [](MimiConfig& c) { c.head_dim = 63; }},
      {"num_key_value_heads, 3", [](MimiConfig& c) { c.num_key_value_heads = 3; }},
      {"sliding_window is 0", [](MimiConfig& c) { c.sliding_window = 0; }},
      {"norm_eps is nan", [](MimiConfig& c) { c.norm_eps = std::nan(""); }},
      {"num_semantic_quantizers is 32", [](MimiConfig& c) { c.num_semantic_quantizers = 32; }},
      {"codebook_dim, 256", [](MimiConfig& c) { c.vector_quantization_hidden_dimension = 128; }},
      {"frame_rate is 0", [](MimiConfig& c) { c.frame_rate = 0; }},
      {"frame_rate is 25", [](MimiConfig& c) { c.frame_rate = 25; }},
      {"means 1846 samples a frame, but its layers make 960",
       [](MimiConfig& c) { c.frame_rate = 13; }},
      {"ratio of encodec_frame_rate to frame_rate is 0",
       [](MimiConfig& c) { c.frame_rate = std::numeric_limits<double>::max(); }},
      {"upsample_groups, 3", [](MimiConfig& c) { c.upsample_groups = 3; }},
  };
  for (const BadConfig& bad : cases) {
    MimiConfig config;
    bad.spoil(config);
    EXPECT_THAT([&] { CheckConfig(config); }, ThrowsMessage<FormatError>(HasSubstr(bad.message)));
  }
}

}  // namespace
}  // namespace csm::mimi

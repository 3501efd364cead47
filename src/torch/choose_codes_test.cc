// The choice of codes on a device against the engine's own.
#include "torch/choose_codes.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/philox.h"
#include "engine/sampler.h"

namespace csm::train {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

SamplingConfig NoWarping() { return {.do_sample = true, .top_k = 0}; }

struct NamedConfig {
  std::string name;
  SamplingConfig config;
};

std::vector<NamedConfig> Configs() {
  std::vector<NamedConfig> configs = {{"greedy", {.do_sample = false}}, {"plain", NoWarping()}};
  const auto add = [&](const std::string& name, const auto& change) {
    configs.push_back({name, NoWarping()});
    change(configs.back().config);
  };
  // No round shares: of equal codes, a sum may end on such a border, where its order decides.
  for (const double x : {0.0531, 0.417, 0.913}) {
    add(fmt::format("temperature {}", x), [=](auto& config) { config.temperature = x; });
    add(fmt::format("top_h {}", x), [=](auto& config) { config.top_h = x; });
    add(fmt::format("top_p {}", x), [=](auto& config) { config.top_p = x; });
    add(fmt::format("min_p {}", x), [=](auto& config) { config.min_p = x; });
    add(fmt::format("typical_p {}", x), [=](auto& config) { config.typical_p = x; });
    add(fmt::format("epsilon_cutoff {}", x), [=](auto& config) { config.epsilon_cutoff = x; });
    add(fmt::format("eta_cutoff {}", x), [=](auto& config) { config.eta_cutoff = x; });
  }
  for (const int64_t k : {1, 2, 7, 50, 1000}) {
    add(fmt::format("top_k {}", k), [=](auto& config) { config.top_k = k; });
  }
  add("almost greedy", [](auto& config) { config.temperature = 1e-300; });
  add("all of them", [](auto& config) {
    config.temperature = 1.3;
    config.top_h = 0.907;
    config.top_k = 30;
    config.top_p = 0.953;
    config.min_p = 0.01;
    config.typical_p = 0.907;
    config.epsilon_cutoff = 0.001;
    config.eta_cutoff = 0.002;
  });
  return configs;
}

// Rows of several shapes: spread, flat, with equals, with few codes left, with one.
torch::Tensor SomeLogits(int64_t vocab_size) {
  torch::Tensor logits = torch::empty({40, vocab_size});
  auto values = logits.accessor<float, 2>();
  for (int64_t r = 0; r < logits.size(0); ++r) {
    const double spread = std::vector{6.0, 0.3, 30.0, 3.0}[static_cast<size_t>(r % 4)];
    for (int64_t i = 0; i < vocab_size; ++i) {
      const double uniform = UniformAt(7, static_cast<uint64_t>(r), static_cast<uint64_t>(i), 0);
      values[r][i] = static_cast<float>(spread * (uniform - 0.5));
      if (r % 5 == 1) values[r][i] = std::round(values[r][i]);
      if (r % 5 == 2 && i % 7 != 0) values[r][i] = -kInf;
      if (r % 5 == 3 && i > 0) values[r][i] = -kInf;
    }
  }
  return logits;
}

TEST(ChooseCodesTest, AreTheEngines) {
  for (const int64_t vocab_size : {5, 67, 300}) {
    const torch::Tensor logits = SomeLogits(vocab_size);
    torch::Tensor uniforms = torch::empty({logits.size(0)}, torch::kFloat64);
    for (const auto& [name, config] : Configs()) {
      for (uint64_t draw = 0; draw < 5; ++draw) {
        auto numbers = uniforms.accessor<double, 1>();
        for (int64_t r = 0; r < logits.size(0); ++r) {
          numbers[r] = UniformAt(draw, static_cast<uint64_t>(r), 0, 0);
        }
        const torch::Tensor chosen = ChooseCodes(config, logits, uniforms);
        const auto codes = chosen.accessor<int64_t, 1>();
        for (int64_t r = 0; r < logits.size(0); ++r) {
          const std::span<const float> row(logits.data_ptr<float>() + r * vocab_size,
                                           static_cast<size_t>(vocab_size));
          EXPECT_EQ(codes[r], engine::ChooseCode(config, row, numbers[r]))
              << name << ", row " << r << ", draw " << draw << ", of " << vocab_size;
        }
      }
    }
  }
}

TEST(ChooseCodesTest, TheLastNumbersBelowOneAreDrawnToo) {
  const torch::Tensor logits = SomeLogits(67);
  const torch::Tensor uniforms =
      torch::full({logits.size(0)}, std::nextafter(1.0, 0.0), torch::kFloat64);
  const torch::Tensor codes = ChooseCodes(NoWarping(), logits, uniforms);
  for (int64_t r = 0; r < logits.size(0); ++r) {
    EXPECT_GT(logits[r][codes[r].item<int64_t>()].item<float>(), -kInf) << r;
  }
}

TEST(ChooseCodesTest, UnsoundLogitsAreNoticed) {
  const torch::Tensor logits = torch::tensor(
      {{0.0F, 1.0F}, {NAN, 0.0F}, {kInf, 0.0F}, {-kInf, -kInf}, {-kInf, 0.0F}, {NAN, -kInf}});
  const torch::Tensor expected = torch::tensor({true, false, false, false, true, false});
  EXPECT_TRUE(IsSound(logits).equal(expected)) << IsSound(logits);
}

}  // namespace
}  // namespace csm::train

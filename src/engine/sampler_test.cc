#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <vector>

#include "base/json.h"
#include "base/philox.h"

namespace csm::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
using ::testing::ElementsAre;

std::vector<Candidate> AllCodes(const std::vector<float>& logits) {
  std::vector<Candidate> result;
  for (size_t i = 0; i < logits.size(); ++i) {
    result.push_back({static_cast<int32_t>(i), logits[i]});
  }
  return result;
}

std::vector<int32_t> Survivors(const SamplingConfig& config, const std::vector<float>& logits) {
  std::vector<Candidate> candidates = AllCodes(logits);
  Warp(config, candidates);
  std::vector<int32_t> codes;
  for (const Candidate& c : candidates) codes.push_back(c.code);
  return codes;
}

SamplingConfig NoWarping() { return {.do_sample = true, .top_k = 0}; }

// Logits whose softmax is exactly p, up to rounding.
std::vector<float> LogitsOf(const std::vector<double>& p) {
  std::vector<float> result;
  for (const double each : p) result.push_back(static_cast<float>(std::log(each)));
  return result;
}

TEST(Warp, TopKKeepsTies) {
  SamplingConfig config = NoWarping();
  config.top_k = 2;
  EXPECT_THAT(Survivors(config, {1, 3, 2, 2, 0}), ElementsAre(1, 2, 3));
  config.top_k = 100;
  EXPECT_EQ(Survivors(config, {1, 3, 2, 2, 0}).size(), 5U);
}

TEST(Warp, TopPDropsTheTail) {
  SamplingConfig config = NoWarping();
  const auto logits = LogitsOf({0.5, 0.05, 0.3, 0.15});
  config.top_p = 0.75;
  EXPECT_THAT(Survivors(config, logits), ElementsAre(0, 2));
  config.top_p = 0.9;
  EXPECT_THAT(Survivors(config, logits), ElementsAre(0, 2, 3));
  config.top_p = 0.01;
  EXPECT_THAT(Survivors(config, logits), ElementsAre(0));
}

TEST(Warp, MinPIsRelativeToTheBest) {
  SamplingConfig config = NoWarping();
  config.min_p = 0.4;
  EXPECT_THAT(Survivors(config, LogitsOf({0.5, 0.05, 0.3, 0.15})), ElementsAre(0, 2));
  config.min_p = 1.0;
  EXPECT_THAT(Survivors(config, LogitsOf({0.5, 0.05, 0.3, 0.15})), ElementsAre(0));
}

TEST(Warp, TemperatureScalesBeforeTheRest) {
  SamplingConfig config = NoWarping();
  config.min_p = 0.4;
  config.temperature = 0.5;  // squares the ratios: 0.36 of the best is dropped
  EXPECT_THAT(Survivors(config, LogitsOf({0.5, 0.05, 0.3, 0.15})), ElementsAre(0));
}

TEST(ChooseCode, GreedyTakesTheLowestOfEquals) {
  EXPECT_EQ(ChooseCode({}, std::vector<float>{1, 5, 5, 2}, 0.99), 1);
  EXPECT_EQ(ChooseCode({}, std::vector<float>{-kInf, -5, -kInf}, 0.99), 1);
}

TEST(ChooseCode, NeverTakesWhatCannotBe) {
  const std::vector<float> logits = {-kInf, 1, -kInf, 1, -kInf};
  for (const double u : {0.0, 0.3, 0.5, 0.999999999, 1 - 0x1p-53}) {
    const int32_t code = ChooseCode(NoWarping(), logits, u);
    EXPECT_TRUE(code == 1 || code == 3) << u;
  }
}

TEST(ChooseCode, RefusesUnsoundLogits) {
  EXPECT_THROW(ChooseCode({}, std::vector<float>{1, NAN}, 0), Error);
  EXPECT_THROW(ChooseCode({}, std::vector<float>{1, kInf}, 0), Error);
  EXPECT_THROW(ChooseCode({}, std::vector<float>{-kInf, -kInf}, 0), Error);
}

TEST(ChooseCode, ScoresAreTheWarpedLogits) {
  SamplingConfig config = NoWarping();
  config.top_k = 2;
  config.temperature = 0.5;
  std::vector<float> scores(4);
  ChooseCode(config, std::vector<float>{1, 3, 2, 0}, 0.5, scores);
  EXPECT_THAT(scores, ElementsAre(-kInf, 6, 4, -kInf));
}

// Pearson's statistic of `draws` draws against probabilities p; codes of p = 0 must not come.
double ChiSquare(const SamplingConfig& config, const std::vector<float>& logits,
                 const std::vector<double>& p, int draws) {
  std::vector<int> counts(p.size());
  for (int i = 0; i < draws; ++i) {
    ++counts[static_cast<size_t>(
        ChooseCode(config, logits, UniformAt(11, 0, static_cast<uint64_t>(i), 3)))];
  }
  double chi_square = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * draws;
    if (expected == 0) {
      EXPECT_EQ(counts[i], 0) << "code " << i;
    } else {
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
  }
  return chi_square;
}

TEST(ChooseCode, DrawsFollowTheExactDistribution) {
  std::vector<double> p(40);
  for (size_t i = 0; i < p.size(); ++i) p[i] = 1.0 / static_cast<double>((i * 7) % 40 + 1);
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& each : p) each /= sum;
  // 39 degrees of freedom: mean 39, standard deviation 8.8; 90 is beyond the 99.999th percentile.
  EXPECT_LT(ChiSquare(NoWarping(), LogitsOf(p), p, 200000), 90);

  // top_k 5 renormalises the five most likely.
  std::vector<double> warped = p;
  std::vector<double> sorted = p;
  std::sort(sorted.rbegin(), sorted.rend());
  const double kept = std::accumulate(sorted.begin(), sorted.begin() + 5, 0.0);
  for (double& each : warped) each = each >= sorted[4] ? each / kept : 0;
  SamplingConfig config = NoWarping();
  config.top_k = 5;
  // 4 degrees of freedom: 30 is beyond the 99.999th percentile.
  EXPECT_LT(ChiSquare(config, LogitsOf(p), warped, 200000), 30);
}

// The probabilities that transformers' own list of processors gives, tests/goldens/warpers.json.
TEST(Warp, EqualsTransformers) {
  const Json goldens =
      ParseJsonFile(std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens/warpers.json");
  ASSERT_GT(goldens["cases"].size(), 50U);
  for (const Json& golden : goldens["cases"]) {
    SamplingConfig config = NoWarping();
    SamplingConfig::visit_fields(config, [&](const char* name, auto& field) {
      const Json& options = golden["options"];
      if (!options.contains(name)) return;
      using Field = std::decay_t<decltype(field)>;
      if constexpr (std::is_same_v<Field, std::optional<double>>) {
        field = options[name].get<double>();
      } else {
        field = options[name].get<Field>();
      }
    });
    std::vector<Candidate> candidates;
    const Json& logits = goldens["logits"][golden["logits"].get<std::string>()];
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!logits[i].is_null()) {
        candidates.push_back({static_cast<int32_t>(i), logits[i].get<float>()});
      }
    }
    Warp(config, candidates);
    std::vector<double> p(logits.size());
    double sum = 0;
    for (const Candidate& c : candidates) sum += std::exp(static_cast<double>(c.score));
    for (const Candidate& c : candidates) {
      p[static_cast<size_t>(c.code)] = std::exp(static_cast<double>(c.score)) / sum;
    }
    for (size_t i = 0; i < p.size(); ++i) {
      ASSERT_NEAR(p[i], golden["probabilities"][i].get<double>(), 1e-6)
          << golden["options"] << " on " << golden["logits"] << ", code " << i;
    }
  }
}

// 1e-45 is the smallest f32, 1e-300 none at all.
TEST(SamplerTest, TinyTemperaturesTakeTheBest) {
  const std::vector<float> logits = {-3, 2.5F, 2.25F, 0};
  for (const double temperature : {1e-20, 1e-45, 1e-300}) {
    for (const double uniform : {0.0, 0.5, 0.999999}) {
      std::vector<float> scores(logits.size());
      EXPECT_EQ(
          ChooseCode({.do_sample = true, .temperature = temperature}, logits, uniform, scores), 1)
          << temperature;
      EXPECT_TRUE(std::isfinite(scores[1]));
    }
  }
}

}  // namespace
}  // namespace csm::engine

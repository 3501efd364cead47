#include "mimi/transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "mimi/test_weights.h"

namespace csm::mimi {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;
using Vector = std::vector<double>;

MimiConfig SmallTransformerConfig() {
  MimiConfig config;
  config.hidden_size = 12;
  config.intermediate_size = 20;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 6;
  config.sliding_window = 5;
  config.attention_bias = true;
  return config;
}

std::shared_ptr<TestWeights> RandomWeights(const MimiConfig& c) {
  auto weights = std::make_shared<TestWeights>();
  const int64_t query = c.num_attention_heads * c.head_dim;
  const int64_t kv = c.num_key_value_heads * c.head_dim;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string name = "t.layers." + std::to_string(i) + ".";
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
      weights->AddRandom(name + norm + ".weight", {c.hidden_size});
      weights->AddRandom(name + norm + ".bias", {c.hidden_size});
    }
    const auto linear = [&](const std::string& part, int64_t out, int64_t in) {
      weights->AddRandom(name + part + ".weight", {out, in});
      weights->AddRandom(name + part + ".bias", {out});
    };
    linear("self_attn.q_proj", query, c.hidden_size);
    linear("self_attn.k_proj", kv, c.hidden_size);
    linear("self_attn.v_proj", kv, c.hidden_size);
    linear("self_attn.o_proj", c.hidden_size, query);
    linear("mlp.fc1", c.intermediate_size, c.hidden_size);
    linear("mlp.fc2", c.hidden_size, c.intermediate_size);
    weights->AddRandom(name + "self_attn_layer_scale.scale", {c.hidden_size});
    weights->AddRandom(name + "mlp_layer_scale.scale", {c.hidden_size});
  }
  return weights;
}

// One layer of HF's MimiTransformerModel on a whole signal, in plain loops and double precision.
class NaiveLayer {
 public:
  NaiveLayer(const TestWeights& weights, const MimiConfig& config, std::string name)
      : weights_(weights), c_(config), name_(std::move(name)) {}

  void Apply(std::vector<Vector>& x) const {
    std::vector<Vector> queries, keys, values;
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector norm = Norm("input_layernorm", x[t]);
      queries.push_back(Rotated(Linear("self_attn.q_proj", norm, true), t));
      keys.push_back(Rotated(Linear("self_attn.k_proj", norm, true), t));
      values.push_back(Linear("self_attn.v_proj", norm, true));
    }
    for (size_t t = 0; t < x.size(); ++t) {
      const Vector attended = Linear("self_attn.o_proj", Attend(queries[t], keys, values, t), true);
      AddScaled("self_attn_layer_scale.scale", attended, x[t]);
      Vector hidden = Linear("mlp.fc1", Norm("post_attention_layernorm", x[t]), false);
      for (double& h : hidden) h *= 0.5 * (1 + std::erf(h / std::sqrt(2.0)));
      AddScaled("mlp_layer_scale.scale", Linear("mlp.fc2", hidden, false), x[t]);
    }
  }

 private:
  float Weight(const std::string& part, size_t i) const {
    return reinterpret_cast<const float*>(weights_.Find(name_ + part)->bytes.data())[i];
  }
  Vector Norm(const std::string& part, const Vector& x) const {
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(x.size());
    Vector y;
    for (size_t i = 0; i < x.size(); ++i) {
      y.push_back((x[i] - mean) / std::sqrt(variance + c_.norm_eps) * Weight(part + ".weight", i) +
                  Weight(part + ".bias", i));
    }
    return y;
  }
  Vector Linear(const std::string& part, const Vector& x, bool bias) const {
    Vector y(static_cast<size_t>(weights_.Find(name_ + part + ".weight")->shape[0]));
    for (size_t o = 0; o < y.size(); ++o) {
      if (bias) y[o] = Weight(part + ".bias", o);
      for (size_t i = 0; i < x.size(); ++i) {
        y[o] += Weight(part + ".weight", o * x.size() + i) * x[i];
      }
    }
    return y;
  }
  Vector Rotated(Vector x, size_t position) const {
    const auto dim = static_cast<size_t>(c_.head_dim);
    for (size_t h = 0; h < x.size(); h += dim) {
      for (size_t i = 0; i < dim / 2; ++i) {
        const double angle = static_cast<double>(position) *
                             std::pow(c_.rope_parameters.rope_theta,
                                      -2.0 * static_cast<double>(i) / static_cast<double>(dim));
        const double a = x[h + i], b = x[h + i + dim / 2];
        x[h + i] = a * std::cos(angle) - b * std::sin(angle);
        x[h + i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    return x;
  }
  Vector Attend(const Vector& query, const std::vector<Vector>& keys,
                const std::vector<Vector>& values, size_t t) const {
    const auto dim = static_cast<size_t>(c_.head_dim);
    const auto window = static_cast<size_t>(c_.sliding_window);
    const size_t group = static_cast<size_t>(c_.num_attention_heads / c_.num_key_value_heads);
    Vector y(query.size());
    for (size_t h = 0; h < query.size() / dim; ++h) {
      const size_t kv = h / group * dim;
      double total = 0;
      for (size_t j = t + 1 > window ? t + 1 - window : 0; j <= t; ++j) {
        double score = 0;
        for (size_t i = 0; i < dim; ++i) score += query[h * dim + i] * keys[j][kv + i];
        const double weight = std::exp(score / std::sqrt(static_cast<double>(dim)));
        total += weight;
        for (size_t i = 0; i < dim; ++i) y[h * dim + i] += weight * values[j][kv + i];
      }
      for (size_t i = 0; i < dim; ++i) y[h * dim + i] /= total;
    }
    return y;
  }
  void AddScaled(const std::string& part, const Vector& y, Vector& x) const {
    for (size_t i = 0; i < x.size(); ++i) x[i] += Weight(part, i) * y[i];
  }

  const TestWeights& weights_;
  const MimiConfig& c_;
  std::string name_;
};

TEST(TransformerTest, EqualsPlainLoopsFarBeyondTheWindow) {
  const MimiConfig config = SmallTransformerConfig();
  const auto weights = RandomWeights(config);
  checkpoint::WeightLoader loader(weights);
  const Transformer transformer(loader, "t.", config);
  constexpr size_t kLength = 40;
  const size_t hidden = static_cast<size_t>(config.hidden_size);
  std::vector<float> x = weights->Random(kLength * hidden, 3);

  std::vector<Vector> rows;
  for (size_t t = 0; t < kLength; ++t) {
    rows.emplace_back(x.begin() + static_cast<ptrdiff_t>(t * hidden),
                      x.begin() + static_cast<ptrdiff_t>((t + 1) * hidden));
  }
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    NaiveLayer(*weights, config, "t.layers." + std::to_string(i) + ".").Apply(rows);
  }
  std::vector<float> expected;
  for (const Vector& row : rows) expected.insert(expected.end(), row.begin(), row.end());

  ThreadPool pool(2);
  Transformer::State state(transformer);
  Transformer::Scratch scratch(transformer);
  transformer.Step(Only(state), x.data(), kLength, scratch, pool);
  EXPECT_THAT(x, Pointwise(FloatNear(1e-4F), expected));
}

TEST(TransformerTest, PiecesGiveTheBitsOfTheWhole) {
  const MimiConfig config = SmallTransformerConfig();
  const auto weights = RandomWeights(config);
  checkpoint::WeightLoader loader(weights);
  const Transformer transformer(loader, "t.", config);
  constexpr size_t kLength = 200;
  const size_t hidden = static_cast<size_t>(config.hidden_size);
  const std::vector<float> x = weights->Random(kLength * hidden, 3);
  ThreadPool pool(2);
  std::vector<float> whole = x;
  Transformer::State whole_state(transformer);
  Transformer::Scratch scratch(transformer);
  transformer.Step(Only(whole_state), whole.data(), kLength, scratch, pool);

  std::mt19937 random(5);
  for (const size_t largest : {1, 3, 11, 60}) {
    std::vector<float> pieces = x;
    Transformer::State state(transformer);
    for (size_t t = 0; t < kLength;) {
      const size_t n = std::min<size_t>(1 + random() % largest, kLength - t);
      transformer.Step(Only(state), pieces.data() + t * hidden, n, scratch, pool);
      t += n;
    }
    EXPECT_EQ(pieces, whole) << "pieces of up to " << largest;
  }
}

TEST(SlidingRowsTest, KeepsTheNewestRowsInBoundedMemory) {
  constexpr size_t kWindow = 249;
  SlidingRows rows(1);
  size_t position = 0;
  for (const size_t n : {1, 2, 64, 2, 2, 100}) {
    for (int repeat = 0; repeat < 2000; ++repeat) {
      const size_t num_kept = std::min(position, kWindow);
      float* to = rows.Append(num_kept, n);
      for (size_t i = 0; i < n; ++i) to[i] = static_cast<float>(position + i);
      position += n;
      for (size_t i = 0; i < num_kept + n; ++i) {
        ASSERT_EQ(*rows.FromEnd(i), static_cast<float>(position - 1 - i));
      }
    }
  }
  EXPECT_LE(rows.capacity_bytes(), (2 * kWindow + 100) * sizeof(float));
}

}  // namespace
}  // namespace csm::mimi

#include "mimi/conv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

#include "mimi/test_weights.h"

namespace csm::mimi {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

int64_t Int(size_t n) { return static_cast<int64_t>(n); }

double Elu(double x) { return x > 0 ? x : std::expm1(x); }

// HF's MimiConv1d on a whole signal x [length, in], in plain loops and double precision.
std::vector<float> NaiveConv1d(const Conv1d::Shape& s, const std::vector<float>& weight,
                               const std::vector<float>& bias, const std::vector<float>& x) {
  const auto length = Int(x.size() / s.in_channels);
  const int64_t left = Int((s.kernel - 1) * s.dilation + 1 - s.stride);
  const int64_t num_outputs = (length + Int(s.stride) - 1) / Int(s.stride);
  const auto input = [&](int64_t t, size_t c) {
    if (s.padding == Padding::kReplicate) t = std::min(std::max<int64_t>(t, 0), length - 1);
    if (t < 0 || t >= length) return 0.0;
    const double value = x[static_cast<size_t>(t) * s.in_channels + c];
    return s.elu ? Elu(value) : value;
  };
  std::vector<float> y;
  for (int64_t t = 0; t < num_outputs; ++t) {
    for (size_t o = 0; o < s.out_channels; ++o) {
      double sum = s.bias ? bias[o] : 0;
      for (size_t i = 0; i < s.in_channels; ++i) {
        for (size_t k = 0; k < s.kernel; ++k) {
          sum += weight[(o * s.in_channels + i) * s.kernel + k] *
                 input(t * Int(s.stride) - left + Int(k * s.dilation), i);
        }
      }
      y.push_back(static_cast<float>(sum));
    }
  }
  return y;
}

// The layer fed with pieces of the given size.
std::vector<float> RunConv1d(const Conv1d& conv, const std::vector<float>& x, size_t piece,
                             ThreadPool& pool) {
  const size_t channels = conv.shape().in_channels;
  const size_t length = x.size() / channels;
  Conv1d::State state(conv);
  ConvScratch scratch;
  Rows y(conv.shape().out_channels);
  for (size_t t = 0; t < length; t += piece) {
    const size_t n = std::min(piece, length - t);
    float* to = y.Append(conv.NumOutputs(state, n));
    conv.Step(Only(state), x.data() + t * channels, n, to, scratch, pool);
  }
  float* to = y.Append(conv.NumFinalOutputs(state));
  conv.Finish(state, to, scratch, pool);
  return {y.data(), y.data() + y.size() * y.channels()};
}

struct ConvCase {
  Conv1d::Shape shape;
  friend std::ostream& operator<<(std::ostream& out, const ConvCase& c) {
    return out << c.shape.in_channels << " to " << c.shape.out_channels << ", kernel "
               << c.shape.kernel << ", stride " << c.shape.stride << ", dilation "
               << c.shape.dilation;
  }
};

class Conv1dTest : public ::testing::TestWithParam<ConvCase> {};

TEST_P(Conv1dTest, EqualsPlainLoopsInPiecesOfAnySize) {
  const Conv1d::Shape shape = GetParam().shape;
  auto weights = std::make_shared<TestWeights>();
  const auto& weight = weights->AddRandom(
      "conv.weight", {Int(shape.out_channels), Int(shape.in_channels), Int(shape.kernel)});
  const auto& bias = weights->AddRandom("conv.bias", {Int(shape.out_channels)});
  checkpoint::WeightLoader loader(weights);
  const Conv1d conv(loader, "conv", shape);
  ThreadPool pool(2);
  for (const size_t length : {1, 2, 3, 7, 8, 9, 50, 101}) {
    SCOPED_TRACE(length);
    const std::vector<float> x = weights->Random(length * shape.in_channels, 2);
    const std::vector<float> whole = RunConv1d(conv, x, length, pool);
    EXPECT_THAT(whole, Pointwise(FloatNear(1e-4F), NaiveConv1d(shape, weight, bias, x)));
    for (const size_t piece : {1, 2, 5, 13}) EXPECT_EQ(RunConv1d(conv, x, piece, pool), whole);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Conv1dTest,
    ::testing::Values(
        ConvCase{{.in_channels = 1, .out_channels = 5, .kernel = 7}},
        ConvCase{{.in_channels = 6, .out_channels = 3, .kernel = 1, .elu = true}},
        ConvCase{{.in_channels = 4, .out_channels = 8, .kernel = 3, .elu = true}},
        ConvCase{{.in_channels = 3, .out_channels = 2, .kernel = 2, .dilation = 5}},
        ConvCase{{.in_channels = 4,
                  .out_channels = 4,
                  .kernel = 3,
                  .dilation = 2,
                  .elu = true,
                  .padding = Padding::kReplicate}},
        ConvCase{{.in_channels = 5, .out_channels = 7, .kernel = 8, .stride = 4, .elu = true}},
        ConvCase{{.in_channels = 2, .out_channels = 3, .kernel = 3, .stride = 3}},
        ConvCase{{.in_channels = 9,
                  .out_channels = 9,
                  .kernel = 4,
                  .stride = 2,
                  .bias = false,
                  .padding = Padding::kReplicate}}));

TEST(Conv1dTest, AccumulateAddsToWhatIsThere) {
  auto weights = std::make_shared<TestWeights>();
  const auto& weight = weights->AddRandom("conv.weight", {3, 2, 1});
  const auto& bias = weights->AddRandom("conv.bias", {3});
  checkpoint::WeightLoader loader(weights);
  const Conv1d conv(loader, "conv", {.in_channels = 2, .out_channels = 3});
  Conv1d::State state(conv);
  ThreadPool pool(1);
  const std::vector<float> x = {0.5F, -2};
  std::vector<float> y = {10, 20, 30};
  ConvScratch scratch;
  conv.Step(Only(state), x.data(), 1, y.data(), scratch, pool, /*accumulate=*/true);
  for (size_t o = 0; o < 3; ++o) {
    EXPECT_NEAR(
        y[o],
        10 * static_cast<float>(o + 1) + weight[2 * o] * 0.5F - weight[2 * o + 1] * 2 + bias[o],
        1e-5);
  }
}

TEST(Conv1dTest, AnEmptySignalHasNoOutput) {
  auto weights = std::make_shared<TestWeights>();
  weights->AddRandom("conv.weight", {3, 2, 4});
  weights->AddRandom("conv.bias", {3});
  checkpoint::WeightLoader loader(weights);
  const Conv1d conv(loader, "conv",
                    {.in_channels = 2, .out_channels = 3, .kernel = 4, .stride = 2});
  Conv1d::State state(conv);
  EXPECT_EQ(conv.NumOutputs(state, 0), 0U);
  EXPECT_EQ(conv.NumFinalOutputs(state), 0U);
}

// torch.nn.ConvTranspose1d on a whole signal, its last kernel - stride outputs cut off.
std::vector<float> NaiveConvTranspose1d(const ConvTranspose1d::Shape& s,
                                        const std::vector<float>& weight,
                                        const std::vector<float>& bias,
                                        const std::vector<float>& x) {
  const size_t length = x.size() / s.in_channels;
  const size_t group_in = s.in_channels / s.groups;
  const size_t group_out = s.out_channels / s.groups;
  std::vector<double> y((length * s.stride + s.kernel) * s.out_channels);
  for (size_t t = 0; t < length; ++t) {
    for (size_t i = 0; i < s.in_channels; ++i) {
      const double value = x[t * s.in_channels + i];
      for (size_t g = 0; g < group_out; ++g) {
        for (size_t k = 0; k < s.kernel; ++k) {
          y[(t * s.stride + k) * s.out_channels + i / group_in * group_out + g] +=
              weight[(i * group_out + g) * s.kernel + k] * (s.elu ? Elu(value) : value);
        }
      }
    }
  }
  y.resize(length * s.stride * s.out_channels);
  std::vector<float> result;
  for (size_t j = 0; j < y.size(); ++j) {
    result.push_back(static_cast<float>(y[j] + (s.bias ? bias[j % s.out_channels] : 0)));
  }
  return result;
}

std::vector<float> RunConvTranspose1d(const ConvTranspose1d& conv, const std::vector<float>& x,
                                      size_t piece, ThreadPool& pool) {
  const size_t channels = conv.shape().in_channels;
  const size_t length = x.size() / channels;
  ConvTranspose1d::State state(conv);
  ConvScratch scratch;
  Rows y(conv.shape().out_channels);
  for (size_t t = 0; t < length; t += piece) {
    const size_t n = std::min(piece, length - t);
    float* to = y.Append(n * conv.shape().stride);
    conv.Step(Only(state), x.data() + t * channels, n, to, scratch, pool);
  }
  return {y.data(), y.data() + y.size() * y.channels()};
}

class ConvTranspose1dTest : public ::testing::TestWithParam<ConvTranspose1d::Shape> {};

TEST_P(ConvTranspose1dTest, EqualsPlainLoopsInPiecesOfAnySize) {
  const ConvTranspose1d::Shape shape = GetParam();
  auto weights = std::make_shared<TestWeights>();
  const auto& weight = weights->AddRandom(
      "up.weight",
      {Int(shape.in_channels), Int(shape.out_channels / shape.groups), Int(shape.kernel)});
  const auto& bias = weights->AddRandom("up.bias", {Int(shape.out_channels)});
  checkpoint::WeightLoader loader(weights);
  const ConvTranspose1d conv(loader, "up", shape);
  ThreadPool pool(2);
  for (const size_t length : {1, 2, 31}) {
    SCOPED_TRACE(length);
    const std::vector<float> x = weights->Random(length * shape.in_channels, 2);
    const std::vector<float> whole = RunConvTranspose1d(conv, x, length, pool);
    EXPECT_THAT(whole, Pointwise(FloatNear(1e-4F), NaiveConvTranspose1d(shape, weight, bias, x)));
    for (const size_t piece : {1, 2, 7}) {
      EXPECT_EQ(RunConvTranspose1d(conv, x, piece, pool), whole);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ConvTranspose1dTest,
    ::testing::Values(
        ConvTranspose1d::Shape{
            .in_channels = 6, .out_channels = 3, .kernel = 8, .stride = 4, .elu = true},
        ConvTranspose1d::Shape{.in_channels = 4, .out_channels = 6, .kernel = 7, .stride = 3},
        ConvTranspose1d::Shape{.in_channels = 3, .out_channels = 5, .kernel = 2, .stride = 2},
        ConvTranspose1d::Shape{.in_channels = 8,
                               .out_channels = 8,
                               .kernel = 4,
                               .stride = 2,
                               .groups = 8,
                               .bias = false},
        ConvTranspose1d::Shape{
            .in_channels = 5, .out_channels = 5, .kernel = 3, .stride = 1, .groups = 5},
        ConvTranspose1d::Shape{
            .in_channels = 6, .out_channels = 9, .kernel = 4, .stride = 2, .groups = 3}));

}  // namespace
}  // namespace csm::mimi

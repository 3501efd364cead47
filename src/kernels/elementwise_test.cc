#include "kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/kernel_test.h"

namespace csm::kernels {
namespace {

using ElementwiseTest = KernelTest;
INSTANTIATE_KERNEL_TEST(ElementwiseTest);

// Floats from -limit to limit: fine near 0 (down to subnormals), dense beyond.
std::vector<float> DenseRange(float limit) {
  std::vector<float> values = {0.0f, -0.0f};
  for (float x = 1e-40f; x < 1e-3f; x *= 1.01f) values.insert(values.end(), {x, -x});
  for (double x = 1e-3; x <= limit; x += limit * 1e-5) {
    values.insert(values.end(), {static_cast<float>(x), static_cast<float>(-x)});
  }
  return values;
}

TEST_P(ElementwiseTest, GeluWithinItsBound) {
  const std::vector<float> x = DenseRange(12.0f);
  std::vector<float> y = x;
  Gelu(y.data(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    const double expected = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    ASSERT_NEAR(y[i], expected, 1e-6 * std::max(1.0, std::abs(v))) << v;
  }
  float extremes[] = {1e30f, -1e30f, 200.0f, -200.0f};
  Gelu(extremes, 4);
  EXPECT_EQ(extremes[0], 1e30f);
  EXPECT_EQ(extremes[1], 0.0f);
  EXPECT_EQ(extremes[2], 200.0f);
  EXPECT_EQ(extremes[3], 0.0f);
}

TEST_P(ElementwiseTest, EluIsAccurateNearZero) {
  const std::vector<float> x = DenseRange(120.0f);
  std::vector<float> y(x.size());
  Elu(x.data(), y.data(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = x[i] > 0 ? x[i] : std::expm1(double{x[i]});
    ASSERT_NEAR(y[i], expected, 1e-6 * std::abs(expected)) << x[i];
  }
  float extremes[] = {-1e30f, -std::numeric_limits<float>::infinity(), NAN, 1e30f};
  Elu(extremes, extremes, 4);
  EXPECT_EQ(extremes[0], -1.0f);
  EXPECT_EQ(extremes[1], -1.0f);
  EXPECT_TRUE(std::isnan(extremes[2]));
  EXPECT_EQ(extremes[3], 1e30f);
}

TEST_P(ElementwiseTest, SiluMultiplyIsAccurate) {
  const std::vector<float> x = DenseRange(300.0f);
  const std::vector<float> up = Random(1).Normals(x.size());
  std::vector<float> y = x;
  SiluMultiply(y.data(), up.data(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = double{x[i]} / (1 + std::exp(-double{x[i]})) * up[i];
    ASSERT_NEAR(y[i], expected, 1e-6 * std::abs(expected) + 1e-34) << x[i];
  }
}

TEST_P(ElementwiseTest, NormsEqualTheirFormulas) {
  for (const size_t n : {1, 2, 7, 16, 63, 64, 65, 100, 512, 2048, 2051}) {
    const std::vector<float> weight = Random(1).Normals(n), bias = Random(2).Normals(n);
    std::vector<float> x = Random(3).Normals(n);
    for (float& v : x) v += 0.5f;
    double mean = 0, mean_square = 0, variance = 0;
    for (const float v : x) mean += v / static_cast<double>(n);
    for (const float v : x) mean_square += double{v} * v / static_cast<double>(n);
    for (const float v : x) variance += (v - mean) * (v - mean) / static_cast<double>(n);
    std::vector<float> rms(n), layer = x;
    RmsNorm(x.data(), weight.data(), 1e-5f, rms.data(), n);
    LayerNorm(layer.data(), weight.data(), bias.data(), 1e-5f, layer.data(), n);  // in place
    for (size_t i = 0; i < n; ++i) {
      const double r = x[i] / std::sqrt(mean_square + 1e-5) * weight[i];
      ASSERT_NEAR(rms[i], r, 1e-6 * std::abs(r)) << n;
      const double l = (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
      // The mean is rounded relative to the values, not to the difference from it.
      const double scale = (std::abs(x[i]) + 1) / std::sqrt(variance + 1e-5) * std::abs(weight[i]);
      ASSERT_NEAR(layer[i], l, 1e-6 * (scale + std::abs(bias[i]))) << n;
    }
  }
}

TEST_P(ElementwiseTest, LayerNormCentresBeforeItSquares) {
  std::vector<float> x(512), ones(512, 1.0f), zeros(512, 0.0f);
  for (size_t i = 0; i < 512; ++i) x[i] = 1000.0f + (i % 2 == 0 ? 0.125f : -0.125f);
  LayerNorm(x.data(), ones.data(), zeros.data(), 0.0f, x.data(), 512);
  for (size_t i = 0; i < 512; ++i) EXPECT_FLOAT_EQ(x[i], i % 2 == 0 ? 1.0f : -1.0f);
}

TEST_P(ElementwiseTest, RopeRotatesHalves) {
  for (const size_t n : {2, 6, 10, 12, 64, 128}) {
    std::vector<float> x = Random(1).Normals(n), cos(n / 2), sin(n / 2);
    for (size_t i = 0; i < n / 2; ++i) {
      cos[i] = std::cos(0.1f * static_cast<float>(i + 1));
      sin[i] = std::sin(0.1f * static_cast<float>(i + 1));
    }
    const std::vector<float> before = x;
    Rope(x.data(), cos.data(), sin.data(), n);
    for (size_t i = 0; i < n / 2; ++i) {
      const double a = before[i], b = before[i + n / 2];
      EXPECT_NEAR(x[i], a * cos[i] - b * sin[i], 1e-6);
      EXPECT_NEAR(x[i + n / 2], b * cos[i] + a * sin[i], 1e-6);
    }
  }
}

TEST_P(ElementwiseTest, SumsEqualTheirFormulas) {
  for (size_t n = 1; n <= 40; ++n) {
    const std::vector<float> x = Random(1).Normals(n), scale = Random(2).Normals(n);
    const std::vector<float> before = Random(3).Normals(n);
    std::vector<float> sum = before, scaled = before;
    Add(x.data(), sum.data(), n);
    AddScaled(x.data(), scale.data(), scaled.data(), n);
    for (size_t i = 0; i < n; ++i) {
      EXPECT_EQ(sum[i], before[i] + x[i]);
      EXPECT_NEAR(scaled[i], before[i] + double{scale[i]} * x[i], 1e-6);
    }
  }
}

// Every function of single elements gives the same bits wherever the element stands.
TEST_P(ElementwiseTest, BitsDoNotDependOnPlace) {
  using Function = std::function<void(float* x, const float* other, size_t n)>;
  const Function functions[] = {
      [](float* x, const float*, size_t n) { Gelu(x, n); },
      [](float* x, const float*, size_t n) { Elu(x, x, n); },
      [](float* x, const float* other, size_t n) { SiluMultiply(x, other, n); },
      [](float* x, const float* other, size_t n) { Add(other, x, n); },
      [](float* x, const float* other, size_t n) { AddScaled(other, other, x, n); },
  };
  const std::vector<float> start = Random(1).Normals(67), other = Random(2).Normals(67);
  for (const Function& function : functions) {
    std::vector<float> whole = start;
    function(whole.data(), other.data(), whole.size());
    std::vector<float> single = start;
    for (size_t i = 0; i < single.size(); ++i) function(&single[i], &other[i], 1);
    ASSERT_EQ(Bits(whole), Bits(single));
    std::vector<float> moved = start;
    function(moved.data() + 3, other.data() + 3, moved.size() - 3);
    ASSERT_TRUE(std::equal(moved.begin() + 3, moved.end(), whole.begin() + 3));
  }
}

TEST_P(ElementwiseTest, NormsDoNotDependOnAlignment) {
  const std::vector<float> x = Random(1).Normals(133), weight = Random(2).Normals(133);
  std::vector<float> a(133), moved_x = x, b(134);
  moved_x.insert(moved_x.begin(), 0.0f);
  RmsNorm(x.data(), weight.data(), 1e-5f, a.data(), 133);
  RmsNorm(moved_x.data() + 1, weight.data(), 1e-5f, b.data() + 1, 133);
  b.erase(b.begin());
  EXPECT_EQ(Bits(a), Bits(b));
  LayerNorm(x.data(), weight.data(), weight.data(), 1e-5f, a.data(), 133);
  LayerNorm(moved_x.data() + 1, weight.data(), weight.data(), 1e-5f, b.data(), 133);
  EXPECT_EQ(Bits(a), Bits(b));
}

TEST_P(ElementwiseTest, RowsAreWidened) {
  for (const DType dtype : kAllTypes) {
    for (const size_t cols : {1, 5, 16, 37}) {
      const TestMatrix matrix(dtype, 3, cols, 1, true);
      std::vector<float> loaded(cols), sum = Random(2).Normals(cols);
      const std::vector<float> before = sum;
      for (size_t row = 0; row < 3; ++row) {
        LoadRow(matrix.table(), row, loaded.data());
        sum = before;
        AddRow(matrix.table(), row, sum.data());
        for (size_t i = 0; i < cols; ++i) {
          ASSERT_EQ(loaded[i], matrix.At(row * cols + i));
          ASSERT_EQ(sum[i], before[i] + matrix.At(row * cols + i));
        }
      }
    }
  }
}

}  // namespace
}  // namespace csm::kernels

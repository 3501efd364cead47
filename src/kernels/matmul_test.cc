#include "kernels/matmul.h"

#include <cmath>
#include <limits>

#include "kernels/bf16_matmul.h"
#include "kernels/kernel_test.h"

namespace csm::kernels {
namespace {

using MatMulTest = KernelTest;
INSTANTIATE_KERNEL_TEST(MatMulTest);

// A product with all it reads and writes. Rows of x overlap if `x_stride` < cols.
struct Case {
  size_t num_rows = 1;
  size_t x_stride = 0;
  DType dtype = DType::kF32;
  size_t outputs = 1;
  size_t cols = 1;
  bool with_bias = false;
  bool accumulate = false;
  size_t misalign = 0;  // floats by which x, y and bias are moved
};

class Operands {
 public:
  explicit Operands(const Case& c)
      : case_(c),
        weight_(c.dtype, c.outputs, c.cols, 1),
        weights_(weight_.Values()),
        x_(Random(2).Normals(c.misalign + (c.num_rows - 1) * c.x_stride + c.cols)),
        bias_(Random(3).Normals(c.misalign + c.outputs)),
        y_stride_(c.outputs + 3),
        y_(Random(4).Normals(c.misalign + c.num_rows * y_stride_)) {}

  RowsView x(size_t first_row, size_t num_rows) const {
    return {x_.data() + case_.misalign + first_row * case_.x_stride, num_rows, case_.x_stride};
  }
  RowsView x() const { return x(0, case_.num_rows); }
  // y holds the same start values in every call's buffer.
  Product product(std::vector<float>& buffer, size_t first_row = 0) const {
    if (buffer.empty()) buffer = y_;
    return {weight_.packed(), case_.with_bias ? bias_.data() + case_.misalign : nullptr,
            buffer.data() + case_.misalign + first_row * y_stride_, y_stride_, case_.accumulate};
  }
  // Each product carries one rounding of its sum so far, 2^-24 of at most sum |x w|.
  double Bound(size_t row, size_t output) const {
    double sum = 0;
    for (size_t i = 0; i < case_.cols; ++i) {
      sum += std::abs(double{x(row, 1).data[i]} * weights_[output * case_.cols + i]);
    }
    if (case_.with_bias) sum += std::abs(bias_[case_.misalign + output]);
    if (case_.accumulate) sum += std::abs(y_[case_.misalign + row * y_stride_ + output]);
    const double roundings = static_cast<double>(case_.cols) + 8;
    return sum * roundings * 0x1p-24 + 1e-30;
  }
  size_t y_stride() const { return y_stride_; }

 private:
  Case case_;
  TestMatrix weight_;
  std::vector<float> weights_;
  std::vector<float> x_;
  std::vector<float> bias_;
  size_t y_stride_;
  std::vector<float> y_;
};

std::vector<float> Compute(const Operands& operands, ThreadPool& pool) {
  std::vector<float> y;
  const Product product = operands.product(y);
  MatMul(operands.x(), product, pool);
  return y;
}

void ExpectNearReference(const Case& c, ThreadPool& pool) {
  const Operands operands(c);
  const std::vector<float> y = Compute(operands, pool);
  std::vector<float> expected;
  MatMulReference(operands.x(), operands.product(expected));
  for (size_t r = 0; r < c.num_rows; ++r) {
    for (size_t o = 0; o < c.outputs; ++o) {
      const size_t i = c.misalign + r * operands.y_stride() + o;
      ASSERT_NEAR(y[i], expected[i], operands.Bound(r, o))
          << "row " << r << " of " << c.num_rows << ", output " << o << " of " << c.outputs
          << ", cols " << c.cols << ", dtype " << static_cast<int>(c.dtype);
      const bool last = o + 1 == c.outputs;
      if (last) {  // the gap between rows of y stays as it was
        for (size_t g = 1; g <= 3; ++g) ASSERT_EQ(y[i + g], expected[i + g]);
      }
    }
  }
}

TEST_P(MatMulTest, EqualsReferenceForEverySmallWidth) {
  ThreadPool pool(1);
  for (const DType dtype : kAllTypes) {
    for (size_t cols = 1; cols <= 40; ++cols) {
      for (const size_t rows : {1, 2, 5, 9}) {
        const size_t flags = cols + rows;
        ExpectNearReference({rows, cols, dtype, 1 + cols % 7, cols, flags % 2 == 0, flags % 3 == 0,
                             flags % 4 < 2 ? size_t{1} : 0},
                            pool);
      }
    }
  }
}

TEST_P(MatMulTest, EqualsReferenceForLargeAndOddShapes) {
  ThreadPool pool(2);
  for (const DType dtype : kAllTypes) {
    ExpectNearReference({1, 2051, dtype, 65, 2051, true, false, 1}, pool);
    ExpectNearReference({7, 2051, dtype, 37, 2051, true, true, 1}, pool);
    ExpectNearReference({30, 192, dtype, 64, 192, false, false, 0}, pool);
    ExpectNearReference({130, 64, dtype, 33, 192, true, false, 0}, pool);  // a convolution, step 64
  }
}

// The promise of matmul.h: a row's bits depend on that row and the weights alone.
TEST_P(MatMulTest, BitsAreTheSameForAnyBatchAndThreadCount) {
  ThreadPool one(1);
  ThreadPool three(3);
  for (const DType dtype : kAllTypes) {
    for (const size_t cols : {7, 64, 1030, 2051}) {
      for (const bool accumulate : {false, true}) {
        constexpr size_t kRows = 200;
        const Operands operands({kRows, cols / 2 + 1, dtype, 21, cols, true, accumulate, 0});
        const std::vector<float> all = Compute(operands, three);
        ASSERT_EQ(Bits(all), Bits(Compute(operands, one)));
        for (const size_t batch : {1, 2, 3, 4, 5, 6, 7, 17, 64}) {
          std::vector<float> y;
          for (size_t row = 0; row < kRows; row += batch) {
            const size_t count = std::min(batch, kRows - row);
            MatMul(operands.x(row, count), operands.product(y, row), one);
          }
          ASSERT_EQ(Bits(all), Bits(y)) << "batch " << batch << ", cols " << cols;
        }
      }
    }
  }
}

// The canonical order of matmul-inl.h, in plain loops: on every machine with fused multiply-add the
// same bits.
TEST_P(MatMulTest, SumsColumnByColumn) {
  const int64_t last_with_fma = HWY_ARCH_X86 ? HWY_AVX2 : HWY_NEON;  // the better, the smaller
  if (GetParam() > last_with_fma) GTEST_SKIP() << "no fused multiply-add";
  ThreadPool pool(2);
  for (const DType dtype : kAllTypes) {
    for (const size_t rows : {1, 3, 20}) {
      constexpr size_t kOutputs = 53, kCols = 77;
      const TestMatrix weight(dtype, kOutputs, kCols, 1);
      const std::vector<float> w = weight.Values(), x = Random(5).Normals(rows * kCols);
      std::vector<float> y(rows * kOutputs), expected(rows * kOutputs);
      MatMul({x.data(), rows, kCols}, Product{weight.packed(), nullptr, y.data(), kOutputs}, pool);
      for (size_t r = 0; r < rows; ++r) {
        for (size_t o = 0; o < kOutputs; ++o) {
          float& sum = expected[r * kOutputs + o];
          for (size_t i = 0; i < kCols; ++i) {
            sum = std::fma(x[r * kCols + i], w[o * kCols + i], sum);
          }
        }
      }
      ASSERT_EQ(Bits(y), Bits(expected));
    }
  }
}

TEST_P(MatMulTest, BitsDoNotDependOnAlignment) {
  ThreadPool pool(2);
  for (const DType dtype : kAllTypes) {
    for (const size_t rows : {1, 3, 20}) {
      const TestMatrix weight(dtype, 13, 77, 1);
      const std::vector<float> x = Random(5).Normals(rows * 77);
      std::vector<float> moved_x = x;
      moved_x.insert(moved_x.begin(), 0.0f);
      std::vector<float> y(rows * 13);
      std::vector<float> moved_y(rows * 13 + 1);
      MatMul({x.data(), rows, 77}, Product{weight.packed(), nullptr, y.data(), 13, false}, pool);
      MatMul({moved_x.data() + 1, rows, 77},
             Product{weight.packed(), nullptr, moved_y.data() + 1, 13, false}, pool);
      moved_y.erase(moved_y.begin());
      ASSERT_EQ(Bits(y), Bits(moved_y));
    }
  }
}

TEST_P(MatMulTest, ProductsThatShareTheirInputEqualEachAlone) {
  ThreadPool pool(3);
  for (const size_t rows : {1, 4, 33}) {
    const TestMatrix q(DType::kBF16, 96, 130, 1);
    const TestMatrix k(DType::kF32, 17, 130, 2);
    const TestMatrix v(DType::kF16, 1, 130, 3);
    const std::vector<float> x = Random(4).Normals(rows * 130);
    std::vector<float> together(rows * 200), alone(rows * 200);
    const auto products = [&](std::vector<float>& y) {
      return std::vector<Product>{{q.packed(), nullptr, y.data(), 200, false},
                                  {k.packed(), nullptr, y.data() + 100, 200, false},
                                  {v.packed(), nullptr, y.data() + 150, 200, false}};
    };
    MatMul({x.data(), rows, 130}, products(together), pool);
    for (const Product& product : products(alone)) MatMul({x.data(), rows, 130}, product, pool);
    ASSERT_EQ(Bits(together), Bits(alone));
  }
}

// Fast precision: as near the product of x rounded to bf16 as f32 sums are, and the same promises.
TEST_P(MatMulTest, RoundsInputsToBf16WhereAsked) {
  ThreadPool one(1), three(3);
  for (const size_t cols : {1, 2, 7, 64, 1031}) {
    constexpr size_t kRows = 23, kOutputs = 85, kStride = kOutputs + 1;
    const TestMatrix weight(DType::kBF16, kOutputs, cols, 1);
    PackedMatrix fast = weight.packed();
    fast.rounds_input = true;
    const std::vector<float> x = Random(2).Normals(kRows * cols),
                             bias = Random(3).Normals(kOutputs);
    std::vector<float> rounded(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      rounded[i] = HasBf16Products() ? ToF32(ToBF16(x[i])) : x[i];
    }
    std::vector<float> y(kRows * kStride, 0.5f), expected = y, alone = y;
    MatMul({x.data(), kRows, cols}, Product{fast, bias.data(), y.data(), kStride, true}, three);
    MatMulReference({rounded.data(), kRows, cols},
                    Product{weight.packed(), bias.data(), expected.data(), kStride, true});
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_NEAR(y[i], expected[i], 1e-6 * static_cast<double>(cols + 10)) << cols;
    }
    for (size_t r = 0; r < kRows; ++r) {
      MatMul({x.data() + r * cols, 1, cols},
             Product{fast, bias.data(), alone.data() + r * kStride, kStride, true}, one);
    }
    ASSERT_EQ(Bits(y), Bits(alone));
  }
}

TEST_P(MatMulTest, NothingToDoIsDone) {
  ThreadPool pool(1);
  const TestMatrix w(DType::kF32, 3, 4, 1);
  MatMul({nullptr, 0, 4}, Product{w.packed(), nullptr, nullptr, 3, false}, pool);
  float y[14] = {};
  const float bias[] = {1.5f, -2.5f};
  for (const size_t rows : {1, 7}) {  // no columns: the sum is empty
    MatMul({y, rows, 0}, Product{{nullptr, DType::kF32, 2, 0}, bias, y, 2, false}, pool);
    EXPECT_EQ(y[2 * rows - 2], 1.5f);
    EXPECT_EQ(y[2 * rows - 1], -2.5f);
  }
}

TEST_P(MatMulTest, InfinityAndNanReachOnlyTheirOutputs) {
  ThreadPool pool(1);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const size_t rows : {1, 9}) {
    std::vector<float> x(rows * 21, 1.0f);
    std::vector<float> w(5 * 21, 0.5f);
    w[1 * 21 + 20] = kInf;
    w[2 * 21 + 3] = std::numeric_limits<float>::quiet_NaN();
    const TestMatrix weight(DType::kF16, 5, 21, w);
    std::vector<float> y(rows * 5);
    MatMul({x.data(), rows, 21}, Product{weight.packed(), nullptr, y.data(), 5, false}, pool);
    for (size_t r = 0; r < rows; ++r) {
      EXPECT_EQ(y[r * 5 + 0], 10.5f);
      EXPECT_EQ(y[r * 5 + 1], kInf);
      EXPECT_TRUE(std::isnan(y[r * 5 + 2]));
      EXPECT_EQ(y[r * 5 + 3], 10.5f);
    }
  }
}

}  // namespace
}  // namespace csm::kernels

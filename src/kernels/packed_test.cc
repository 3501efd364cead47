#include "kernels/packed.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/kernel_test.h"
#include "kernels/quantized_matmul.h"

namespace csm::kernels {
namespace {

constexpr DType kQuantizedTypes[] = {DType::kQ8_0, DType::kQ4};

double RelativeError(const std::vector<float>& actual, const std::vector<float>& expected) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += std::pow(double{actual[i]} - expected[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / norm);
}

TEST(PackedTest, QuantizationErrorsAreSmall) {
  // Of weights like a network's: normal. 0.6 % and 7 % were measured.
  const std::vector<float> values = Random(1).Normals(size_t{64} * 2048);
  EXPECT_LT(RelativeError(TestMatrix(DType::kQ8_0, 64, 2048, values).Values(), values), 0.008);
  EXPECT_LT(RelativeError(TestMatrix(DType::kQ4, 64, 2048, values).Values(), values), 0.08);
}

TEST(PackedTest, UnpackedRowsAreTheStoredOnes) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4}) {
    for (const size_t cols : {1, 7, 32, 64, 96, 320}) {
      if (IsQuantized(dtype) && cols % kBlock != 0) continue;
      const TestMatrix matrix(dtype, 37, cols, 2, !IsQuantized(dtype));
      const std::vector<float> expected = matrix.Values();
      for (size_t row = 0; row < 37; ++row) {
        std::vector<float> actual(cols);
        UnpackRow(matrix.packed(), row, actual.data());
        EXPECT_EQ(actual, std::vector<float>(expected.begin() + row * cols,
                                             expected.begin() + (row + 1) * cols));
      }
    }
  }
}

TEST(PackedTest, RowsAreAddedAndSubtracted) {
  const TestMatrix matrix(DType::kF32, 37, 19, 2);
  std::vector<float> row(19), sum(19, 0.25F);
  UnpackRow(matrix.packed(), 20, row.data());
  AddPackedRow(matrix.packed(), 20, 1.0F, sum.data());
  for (size_t i = 0; i < 19; ++i) EXPECT_EQ(sum[i], 0.25F + row[i]);
  const std::vector<float> before = sum;
  AddPackedRow(matrix.packed(), 20, -1.0F, sum.data());
  for (size_t i = 0; i < 19; ++i) EXPECT_EQ(sum[i], before[i] - row[i]);
}

TEST(PackedTest, BlocksOfOneKind) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const DType dtype : kQuantizedTypes) {
    const auto round_trip = [dtype](std::vector<float> x) {
      std::vector<std::byte> block(BlockBytes(dtype));
      QuantizeBlocks(x.data(), kBlock, dtype, block.data());
      DequantizeBlocks(block.data(), kBlock, dtype, x.data());
      return x;
    };
    EXPECT_EQ(round_trip(std::vector<float>(kBlock, 0.0F)), std::vector<float>(kBlock, 0.0F));
    for (const float constant : {1.0F, -1.0F, 1e-3F, 300.0F}) {
      for (const float value : round_trip(std::vector<float>(kBlock, constant))) {
        EXPECT_NEAR(value, constant, std::abs(constant) * 2e-3F);
      }
    }
    for (const float value : round_trip(std::vector<float>(kBlock, 1e-40F))) {
      EXPECT_LT(std::abs(value), 1e-6F);
    }
    std::vector<float> bad(kBlock, 1.0F);
    for (const float value : {NAN, inf}) {
      bad[7] = value;
      const auto result = round_trip(bad);
      EXPECT_FALSE(std::isfinite(result[7]));
    }
    // Of ggml: the scale first, then the quantized values.
    std::vector<float> ramp(kBlock);
    for (size_t i = 0; i < kBlock; ++i) ramp[i] = static_cast<float>(i) - 16;
    EXPECT_LT(RelativeError(round_trip(ramp), ramp), 0.1);
  }
}

class QuantizedMatMulTest : public testing::TestWithParam<QuantizedTarget> {};

std::string Name(const testing::TestParamInfo<QuantizedTarget>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(, QuantizedMatMulTest,
                         testing::ValuesIn(QuantizedTargets().begin(), QuantizedTargets().end()),
                         Name);

std::vector<float> Multiply(const PackedMatrix& matrix, const QuantizedRows& x,
                            QuantizedKernel kernel, bool accumulate,
                            const std::vector<float>& bias) {
  const size_t outputs = matrix.rows, stride = outputs + 3;
  std::vector<float> y = Random(5).Normals(x.num_rows * stride);
  kernel({{.strips = static_cast<const std::byte*>(matrix.data),
           .dtype = matrix.dtype,
           .num_outputs = outputs,
           .bias = bias.empty() ? nullptr : bias.data(),
           .y = y.data(),
           .y_stride = stride,
           .accumulate = accumulate},
          x});
  return y;
}

// Integers are exact and the float operations are the same ones: equal bits, not nearly so.
TEST_P(QuantizedMatMulTest, EqualsTheReferenceBitForBit) {
  ThreadPool pool(2);
  for (const DType dtype : kQuantizedTypes) {
    for (const size_t cols : {32, 64, 96, 256}) {
      for (const size_t outputs : {1, 16, 33, 65, 100}) {
        const TestMatrix weight(dtype, outputs, cols, 3);
        const PackedMatrix matrix = weight.packed();
        const std::vector<float> bias = Random(7).Normals(outputs);
        for (const size_t rows : {1, 2, 3, 7, 8, 21}) {
          const std::vector<float> x = Random(4).Normals(rows * cols);
          QuantizedBuffer buffer;
          const QuantizedRows q = buffer.Quantize({x.data(), rows, cols}, cols, pool);
          const bool accumulate = rows % 2 == 0;
          const auto& given = outputs % 2 == 0 ? bias : std::vector<float>();
          EXPECT_EQ(Bits(Multiply(matrix, q, GetParam().run, accumulate, given)),
                    Bits(Multiply(matrix, q, RunQuantizedScalar, accumulate, given)))
              << cols << " columns, " << outputs << " outputs, " << rows << " rows";
        }
      }
    }
  }
}

// A file may hold -128, which no quantizer here makes.
TEST_P(QuantizedMatMulTest, ExtremesDoNotOverflow) {
  ThreadPool pool(1);
  constexpr size_t kCols = 8192, kRows = 9;
  const TestMatrix ones(DType::kQ8_0, kStripRows, kCols, std::vector<float>(kStripRows * kCols, 1));
  const AlignedBytes strip(StripBytes(DType::kQ8_0, kCols));
  std::memcpy(strip.data(), ones.packed().data, StripBytes(DType::kQ8_0, kCols));
  for (const float sign : {-1.0F, 1.0F}) {
    for (const int weight : {-128, -127, 127}) {
      for (size_t t = 0; t < NumTiles(kCols); ++t) {
        std::byte* tile = strip.data() + t * TileBytes(DType::kQ8_0);
        std::fill_n(tile + 64, 1024, static_cast<std::byte>(weight + 128));
      }
      const std::vector<float> x(kRows * kCols, sign);
      QuantizedBuffer buffer;
      std::vector<float> y(kRows * kStripRows);
      GetParam().run({{.strips = strip.data(),
                       .dtype = DType::kQ8_0,
                       .num_outputs = kStripRows,
                       .y = y.data(),
                       .y_stride = kStripRows},
                      buffer.Quantize({x.data(), kRows, kCols}, kCols, pool)});
      const float expected = sign * kCols * static_cast<float>(weight) / 127;
      for (const float value : y) EXPECT_NEAR(value, expected, kCols * 1e-3);
    }
  }
}

using QuantizeRowsTest = KernelTest;
INSTANTIATE_KERNEL_TEST(QuantizeRowsTest);

TEST_P(QuantizeRowsTest, RoundsToNearestEvenAndShowsWhatIsNotFinite) {
  ThreadPool pool(2);
  constexpr size_t kCols = 96;  // one tile and a half
  std::vector<float> x = Random(6).Normals(5 * kCols);
  std::fill_n(x.begin() + kCols, kBlock, 0.0F);
  std::fill_n(x.begin() + kCols + kBlock, kBlock, 1e-40F);  // as good as 0
  x[2 * kCols + 40] = std::numeric_limits<float>::infinity();
  x[3 * kCols + 1] = std::numeric_limits<float>::quiet_NaN();
  QuantizedBuffer buffer;
  const QuantizedRows rows = buffer.Quantize({x.data(), 5, kCols}, kCols, pool);
  ASSERT_EQ(rows.num_tiles, 2U);
  for (size_t r = 0; r < 5; ++r) {
    for (size_t b = 0; b < 4; ++b) {
      const int8_t* q = rows.q + r * 128 + b * kBlock;
      const float scale = rows.scales[r * 4 + b];
      const bool is_bad = (r == 2 && b == 1) || (r == 3 && b == 0);
      EXPECT_EQ(std::isnan(scale), is_bad);
      int32_t sum = 0;
      for (size_t i = 0; i < kBlock; ++i) {
        sum += q[i];
        if (is_bad || b == 3) {
          EXPECT_EQ(q[i], 0);
        } else {
          EXPECT_NEAR(scale * q[i], x[r * kCols + b * kBlock + i], 0.5001F * scale + 1e-30F);
        }
      }
      EXPECT_EQ(rows.corrections[r * 4 + b], -128 * sum);
    }
    EXPECT_EQ(rows.scales[r * 4 + 3], 0.0F);
  }
  EXPECT_EQ(rows.scales[4], 0.0F);  // a block of zeros
}

// The promise of matmul.h for quantized weights, and nearness to the float product.
TEST(PackedTest, MatMulGivesTheSameBitsForAnyBatchAndThreadCount) {
  constexpr size_t kCols = 256, kOutputs = 515, kRows = 19;
  const std::vector<float> x = Random(8).Normals(kRows * kCols);
  for (const DType dtype : kQuantizedTypes) {
    const TestMatrix a(dtype, kOutputs, kCols, 9);
    const TestMatrix plain(DType::kF32, 70, kCols, 10);
    std::vector<float> expected;
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      std::vector<float> y(kRows * kOutputs), z(kRows * 70);
      const Product products[] = {{a.packed(), nullptr, y.data(), kOutputs},
                                  {plain.packed(), nullptr, z.data(), 70}};
      MatMul({x.data(), kRows, kCols}, products, pool);
      if (expected.empty()) expected = y;
      EXPECT_EQ(Bits(y), Bits(expected));
      for (size_t r = 0; r < kRows; ++r) {
        std::vector<float> row(kOutputs);
        MatMul({x.data() + r * kCols, 1, kCols}, {a.packed(), nullptr, row.data(), kOutputs}, pool);
        EXPECT_EQ(Bits(row), Bits({y.begin() + r * kOutputs, y.begin() + (r + 1) * kOutputs}));
      }
    }
    // Against the product of the dequantized weights: what rounding x to int8 costs.
    const TestMatrix w(DType::kF32, kOutputs, kCols, a.Values());
    std::vector<float> reference(kRows * kOutputs);
    MatMulReference({x.data(), kRows, kCols}, {w.packed(), nullptr, reference.data(), kOutputs});
    EXPECT_LT(RelativeError(expected, reference), 0.01);
  }
}

}  // namespace
}  // namespace csm::kernels

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/elementwise.h"
#include "kernels/kernel_test.h"

namespace csm::kernels {
namespace {

using ConvertTest = KernelTest;
INSTANTIATE_KERNEL_TEST(ConvertTest);

template <class T>
std::vector<T> AllBits() {
  std::vector<T> values(65536);
  for (uint32_t i = 0; i < 65536; ++i) values[i] = {static_cast<uint16_t>(i)};
  return values;
}

// Equal bits, or both NaN.
void ExpectSame(float a, float b, uint32_t from) {
  if (std::isnan(b)) {
    ASSERT_TRUE(std::isnan(a)) << from;
  } else {
    ASSERT_EQ(std::bit_cast<uint32_t>(a), std::bit_cast<uint32_t>(b)) << from;
  }
}

TEST(Half, KnownValues) {
  EXPECT_EQ(ToF32(F16{0x3C00}), 1.0f);
  EXPECT_EQ(ToF32(F16{0xC000}), -2.0f);
  EXPECT_EQ(ToF32(F16{0x7BFF}), 65504.0f);
  EXPECT_EQ(ToF32(F16{0x0400}), 0x1p-14f);
  EXPECT_EQ(ToF32(F16{0x03FF}), 1023 * 0x1p-24f);
  EXPECT_EQ(ToF32(F16{0x0001}), 0x1p-24f);
  EXPECT_EQ(ToF32(F16{0xFC00}), -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(ToF32(F16{0x7C01})));
  EXPECT_TRUE(std::signbit(ToF32(F16{0x8000})));
  EXPECT_EQ(ToF32(BF16{0x3F80}), 1.0f);
  EXPECT_EQ(ToF16(65519.0f).bits, 0x7BFF);
  EXPECT_EQ(ToF16(65520.0f).bits, 0x7C00);
  EXPECT_EQ(ToF16(1.0f + 0x1p-11f).bits, 0x3C00);      // a tie goes to even: down
  EXPECT_EQ(ToF16(1.0f + 3 * 0x1p-11f).bits, 0x3C02);  // and up
  EXPECT_EQ(ToF16(0x1p-25f).bits, 0x0000);             // half the smallest, to even
  EXPECT_EQ(ToF16(std::nextafter(0x1p-25f, 1.0f)).bits, 0x0001);
  EXPECT_EQ(ToBF16(1.0f + 0x1p-8f).bits, 0x3F80);
  EXPECT_EQ(ToBF16(1.0f + 3 * 0x1p-8f).bits, 0x3F82);
  EXPECT_EQ(ToBF16(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_TRUE(std::isnan(ToF32(ToBF16(std::bit_cast<float>(0x7F800001u)))));
}

TEST(Half, WideningThenNarrowingIsTheIdentity) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const F16 f16 = {static_cast<uint16_t>(i)};
    const BF16 bf16 = {static_cast<uint16_t>(i)};
    if (!std::isnan(ToF32(f16))) {
      ASSERT_EQ(ToF16(ToF32(f16)).bits, i);
    }
    if (!std::isnan(ToF32(bf16))) {
      ASSERT_EQ(ToBF16(ToF32(bf16)).bits, i);
    }
  }
}

TEST_P(ConvertTest, WideningIsExactForEveryValue) {
  const std::vector<F16> f16 = AllBits<F16>();
  const std::vector<BF16> bf16 = AllBits<BF16>();
  std::vector<float> wide(65536);
  Convert(f16.data(), DType::kF16, wide.data(), DType::kF32, wide.size());
  for (uint32_t i = 0; i < 65536; ++i) ExpectSame(wide[i], ToF32(f16[i]), i);
  Convert(bf16.data(), DType::kBF16, wide.data(), DType::kF32, wide.size());
  for (uint32_t i = 0; i < 65536; ++i) ExpectSame(wide[i], ToF32(bf16[i]), i);
}

// Every float whose low bits decide a rounding: all upper halves, with ties and their neighbours.
TEST_P(ConvertTest, NarrowingRoundsToNearestEven) {
  std::vector<float> wide;
  for (uint32_t upper = 0; upper < 65536; ++upper) {
    for (const uint32_t lower : {0x0000u, 0x0001u, 0x0FFFu, 0x1000u, 0x1001u, 0x2FFFu, 0x3000u,
                                 0x3001u, 0x7FFFu, 0x8000u, 0x8001u, 0xF000u, 0xFFFFu}) {
      wide.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  std::vector<F16> f16(wide.size());
  std::vector<BF16> bf16(wide.size());
  Convert(wide.data(), DType::kF32, f16.data(), DType::kF16, wide.size());
  Convert(wide.data(), DType::kF32, bf16.data(), DType::kBF16, wide.size());
  for (size_t i = 0; i < wide.size(); ++i) {
    const uint32_t from = std::bit_cast<uint32_t>(wide[i]);
    ExpectSame(ToF32(f16[i]), ToF32(ToF16(wide[i])), from);
    ExpectSame(ToF32(bf16[i]), ToF32(ToBF16(wide[i])), from);
  }
}

TEST_P(ConvertTest, AnyPairOfTypesAndAnyLength) {
  for (const DType from : kAllTypes) {
    for (const DType to : kAllTypes) {
      for (size_t n = 0; n <= 40; ++n) {
        const TestMatrix source(from, 1, n, 7, true);
        std::vector<std::byte> target(n * SizeOf(to) + 1, std::byte{0xA5});
        Convert(source.table().data, from, target.data(), to, n);
        EXPECT_EQ(target.back(), std::byte{0xA5});
        for (size_t i = 0; i < n; ++i) {
          float expected = source.At(i), got;
          if (to == DType::kF16) expected = ToF32(ToF16(expected));
          if (to == DType::kBF16) expected = ToF32(ToBF16(expected));
          Convert(target.data() + i * SizeOf(to), to, &got, DType::kF32, 1);
          ASSERT_EQ(got, expected);
        }
      }
    }
  }
}

}  // namespace
}  // namespace csm::kernels

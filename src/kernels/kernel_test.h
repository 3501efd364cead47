// Shared by the tests of this room: a fixture that runs a test on every instruction set of the
// machine, random data, and buffers that end where AddressSanitizer looks.
#ifndef CSM_KERNELS_KERNEL_TEST_H_
#define CSM_KERNELS_KERNEL_TEST_H_

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/half.h"
#include "kernels/matrix_view.h"

// The kernels' targets, before Highway makes its own choice.
// clang-format off
#include "kernels/targets.h"
#include "hwy/targets.h"
// clang-format on

namespace csm::kernels {

/// Instantiate with INSTANTIATE_KERNEL_TEST; the parameter is a Highway target.
class KernelTest : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { Use(GetParam()); }
  void TearDown() override { Use(0); }

 private:
  static void Use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

inline std::vector<int64_t> AllTargets() {
  std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  // Highway counts AES to NEON. Without (Raspberry Pi 4) it runs the baseline: NEON all the same.
  if (targets.empty()) targets.push_back(HWY_STATIC_TARGET);
  return targets;
}

inline std::string TargetLabel(const testing::TestParamInfo<int64_t>& info) {
  return hwy::TargetName(info.param);
}

#define INSTANTIATE_KERNEL_TEST(suite) \
  INSTANTIATE_TEST_SUITE_P(, suite, testing::ValuesIn(AllTargets()), TargetLabel)

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float Normal() { return normal_(engine_); }
  std::vector<float> Normals(size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = Normal();
    return values;
  }

 private:
  std::mt19937 engine_;
  std::normal_distribution<float> normal_;
};

/// A matrix of any type in a heap block that ends with its last element and, if `misaligned`, is
/// aligned to the element only.
class TestMatrix {
 public:
  TestMatrix(DType dtype, size_t rows, size_t cols, uint32_t seed, bool misaligned = false)
      : view_{nullptr, dtype, rows, cols},
        bytes_(rows * cols * SizeOf(dtype) + (misaligned ? SizeOf(dtype) : 0)) {
    std::byte* data = bytes_.data() + bytes_.size() - rows * cols * SizeOf(dtype);
    Random random(seed);
    for (size_t i = 0; i < rows * cols; ++i) Put(data, i, random.Normal());
    view_.data = data;
  }
  const MatrixView& view() const { return view_; }
  float At(size_t i) const {
    if (view_.dtype == DType::kF32) return static_cast<const float*>(view_.data)[i];
    if (view_.dtype == DType::kF16) return ToF32(static_cast<const F16*>(view_.data)[i]);
    return ToF32(static_cast<const BF16*>(view_.data)[i]);
  }

 private:
  void Put(std::byte* data, size_t i, float value) {
    const F16 f16 = ToF16(value);
    const BF16 bf16 = ToBF16(value);
    const void* from = &value;
    if (view_.dtype == DType::kF16) from = &f16;
    if (view_.dtype == DType::kBF16) from = &bf16;
    std::memcpy(data + i * SizeOf(view_.dtype), from, SizeOf(view_.dtype));
  }

  MatrixView view_;
  std::vector<std::byte> bytes_;
};

inline constexpr DType kAllTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

/// The bytes of a float, so that comparing vectors of them compares bits (and NaN equals itself).
inline std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  if (!values.empty()) std::memcpy(bits.data(), values.data(), values.size() * sizeof(float));
  return bits;
}

}  // namespace csm::kernels

#endif  // CSM_KERNELS_KERNEL_TEST_H_

// Shared by the tests of this room: a fixture that runs a test on every instruction set of the
// machine, random data, and buffers that end where AddressSanitizer looks.
#ifndef CSM_KERNELS_KERNEL_TEST_H_
#define CSM_KERNELS_KERNEL_TEST_H_

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "kernels/elementwise.h"
#include "kernels/half.h"
#include "kernels/packed.h"

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

/// A heap block of exactly `size` bytes, aligned to a cache line.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t size)
      : data_(static_cast<std::byte*>(::operator new (size, std::align_val_t{64}))) {}
  std::byte* data() const { return data_.get(); }

 private:
  struct Delete {
    void operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Delete> data_;
};

/// A matrix of any type, as stored and packed. The stored one is in a heap block that ends with its
/// last element and, if `misaligned`, is aligned to the element only.
class TestMatrix {
 public:
  TestMatrix(DType dtype, size_t rows, size_t cols, const std::vector<float>& values,
             bool misaligned = false)
      : dtype_(dtype),
        rows_(rows),
        cols_(cols),
        shift_(misaligned ? SizeOf(dtype) : 0),
        stored_(shift_ + rows_ * StoredRowBytes(dtype, cols)),
        packed_(PackedBytes(dtype, rows_, cols)) {
    std::byte* data = stored_.data() + shift_;
    if (IsQuantized(dtype)) {
      QuantizeBlocks(values.data(), values.size(), dtype, data);
    } else {
      for (size_t i = 0; i < values.size(); ++i) Put(data, i, values[i]);
    }
    PackMatrix(table(), packed_.data());
  }
  TestMatrix(DType dtype, size_t rows, size_t cols, uint32_t seed, bool misaligned = false)
      : TestMatrix(dtype, rows, cols, Random(seed).Normals(rows * cols), misaligned) {}

  MatrixView table() const { return {stored_.data() + shift_, dtype_, rows_, cols_}; }
  PackedMatrix packed() const { return {packed_.data(), dtype_, rows_, cols_}; }

  /// Element i of a type that is not quantized.
  float At(size_t i) const {
    const void* data = table().data;
    if (dtype_ == DType::kF32) return static_cast<const float*>(data)[i];
    if (dtype_ == DType::kF16) return ToF32(static_cast<const F16*>(data)[i]);
    return ToF32(static_cast<const BF16*>(data)[i]);
  }
  /// All elements, in order.
  std::vector<float> Values() const {
    std::vector<float> values(rows_ * cols_);
    for (size_t row = 0; row < rows_; ++row) LoadRow(table(), row, values.data() + row * cols_);
    return values;
  }

 private:
  void Put(std::byte* data, size_t i, float value) {
    const F16 f16 = ToF16(value);
    const BF16 bf16 = ToBF16(value);
    const void* from = &value;
    if (dtype_ == DType::kF16) from = &f16;
    if (dtype_ == DType::kBF16) from = &bf16;
    std::memcpy(data + i * SizeOf(dtype_), from, SizeOf(dtype_));
  }

  DType dtype_;
  size_t rows_, cols_, shift_;
  std::vector<std::byte> stored_;
  AlignedBytes packed_;
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

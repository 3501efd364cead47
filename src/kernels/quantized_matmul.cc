// Rounding of activations to int8, and the choice of a kernel by what the processor can do.
#include "kernels/quantized_matmul.h"

#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#else
#include <cpuid.h>
#endif

#include <bit>
#include <limits>
#include <vector>

// Highway asks for this order.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantized_matmul.cc"
#include "kernels/targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/load-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

// One block: q, and the sum of its values; returns the scale.
HWY_INLINE float QuantizeBlock(const float* x, int8_t* q, int32_t& sum) {
  const DF df;
  const hn::RebindToSigned<DF> di;
  // Magnitudes have the order of their bits, in which NaN is beyond infinity.
  auto largest = hn::Zero(di);
  for (size_t i = 0; i < kBlock; i += kLanes) {
    largest = hn::Max(largest, hn::BitCast(di, hn::Abs(LoadF32(x + i))));
  }
  const int32_t largest_bits = hn::GetLane(hn::MaxOfLanes(di, largest));
  constexpr int32_t kInfinityBits = 0x7F800000;
  if (largest_bits >= kInfinityBits) {
    std::memset(q, 0, kBlock);
    sum = 0;
    return std::numeric_limits<float>::quiet_NaN();
  }
  float max = std::bit_cast<float>(largest_bits);
  // 127 / max would be infinite below 4e-37: nothing a network computes with.
  constexpr float kLeast = 1e-30F;
  if (max < kLeast) max = 0;
  const VF inverse = hn::Set(df, max > 0 ? 127.0F / max : 0.0F);
  const hn::Rebind<int8_t, DF> di8;
  auto sums = hn::Zero(di);
  for (size_t i = 0; i < kBlock; i += kLanes) {
    const auto rounded = hn::NearestInt(hn::Mul(LoadF32(x + i), inverse));
    hn::StoreU(hn::DemoteTo(di8, rounded), di8, q + i);
    sums = hn::Add(sums, rounded);
  }
  sum = hn::GetLane(hn::SumOfLanes(di, sums));
  return max / 127.0F;
}

// A row: all that QuantizedRows has of it.
void QuantizeRow(const float* x, size_t num_blocks, int8_t* q, float* scales,
                 int32_t* corrections) {
  for (size_t b = 0; b < num_blocks; ++b) {
    int32_t sum;
    scales[b] = QuantizeBlock(x + b * kBlock, q + b * kBlock, sum);
    corrections[b] = -128 * sum;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace csm::kernels {
namespace {

HWY_EXPORT(QuantizeRow);

template <typename T>
void Grow(std::vector<T>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
}

}  // namespace

#if HWY_ARCH_X86_64
void RunQuantizedAvx512(const QuantizedTask& task);
int32_t MultiplyManyAvx512(size_t rounds, size_t& num_mul_adds);
void RunQuantizedAvx512Vl(const QuantizedTask& task);
int32_t MultiplyManyAvx512Vl(size_t rounds, size_t& num_mul_adds);
void RunQuantizedAvxVnni(const QuantizedTask& task);
int32_t MultiplyManyAvxVnni(size_t rounds, size_t& num_mul_adds);
void RunQuantizedAvx2(const QuantizedTask& task);
int32_t MultiplyManyAvx2(size_t rounds, size_t& num_mul_adds);

namespace {

// clang 14 has no name for it to give __builtin_cpu_supports.
bool HasAvxVnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & 1U << 4) != 0;
}

}  // namespace
#elif HWY_ARCH_ARM_A64
void RunQuantizedI8mm(const QuantizedTask& task);
int32_t MultiplyManyI8mm(size_t rounds, size_t& num_mul_adds);
void RunQuantizedDotprod(const QuantizedTask& task);
int32_t MultiplyManyDotprod(size_t rounds, size_t& num_mul_adds);
void RunQuantizedNeon(const QuantizedTask& task);
int32_t MultiplyManyNeon(size_t rounds, size_t& num_mul_adds);
#endif

QuantizedRows QuantizedBuffer::Quantize(const RowsView& x, size_t cols, ThreadPool& pool) {
  const size_t num_tiles = NumTiles(cols), num_blocks = cols / kBlock;
  const size_t padded = num_tiles * kTileCols;
  Grow(q_, x.num_rows * padded);
  Grow(scales_, x.num_rows * num_tiles * 2);
  Grow(corrections_, x.num_rows * num_tiles * 2);
  const auto quantize_row = [&](size_t r) {
    int8_t* q = q_.data() + r * padded;
    float* scales = scales_.data() + r * num_tiles * 2;
    int32_t* corrections = corrections_.data() + r * num_tiles * 2;
    HWY_DYNAMIC_DISPATCH(QuantizeRow)(x.data + r * x.stride, num_blocks, q, scales, corrections);
    if (num_blocks == num_tiles * 2) return;
    std::memset(q + num_blocks * kBlock, 0, kBlock);
    scales[num_blocks] = 0;
    corrections[num_blocks] = 0;
  };
  constexpr size_t kMinRowsToShare = 4;
  pool.ParallelForIf(x.num_rows >= kMinRowsToShare, x.num_rows, quantize_row);
  return {q_.data(), scales_.data(), corrections_.data(), x.num_rows, num_tiles};
}

std::span<const QuantizedTarget> QuantizedTargets() {
  static const std::vector<QuantizedTarget> targets = [] {
    std::vector<QuantizedTarget> found;
#if HWY_ARCH_X86_64
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl")) {
      found.push_back({"AVX512_VNNI", RunQuantizedAvx512, MultiplyManyAvx512});
      found.push_back({"AVX512VL_VNNI", RunQuantizedAvx512Vl, MultiplyManyAvx512Vl});
    }
    if (HasAvxVnni()) found.push_back({"AVX_VNNI", RunQuantizedAvxVnni, MultiplyManyAvxVnni});
    // No processor has AVX2 without F16C, for which clang 14 has no name here.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
      found.push_back({"AVX2", RunQuantizedAvx2, MultiplyManyAvx2});
    }
#elif HWY_ARCH_ARM_A64
    const bool has_dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    if (has_dotprod && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) {
      found.push_back({"I8MM", RunQuantizedI8mm, MultiplyManyI8mm});
    }
    if (has_dotprod) found.push_back({"DOTPROD", RunQuantizedDotprod, MultiplyManyDotprod});
    found.push_back({"NEON", RunQuantizedNeon, MultiplyManyNeon});
#endif
    found.push_back({"scalar", RunQuantizedScalar, nullptr});
    return found;
  }();
  return targets;
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

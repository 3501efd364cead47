// What the files of Arm's quantized products share: tiles in vectors of four outputs, and the walk
// along a strip, to which a file adds its instructions for dot products.
//
// Bound for one row: bytes of the weights. Bound for many rows: dot products; 4 rows share each
// load and decoding of weights, which leaves 8 sums, 8 vectors of x and the weights in 32
// registers. Checked for equal bits under an emulator; on Arm hardware nothing of this has been
// measured.
#ifndef CSM_KERNELS_QUANTIZED_NEON_H_
#define CSM_KERNELS_QUANTIZED_NEON_H_

#include <arm_neon.h>

#include "kernels/strip_store.h"

namespace csm::kernels {
namespace {  // strip_store.h says why

constexpr size_t kQuarter = 4;  // outputs of a vector

struct Weights {
  int8x16_t first, second;  // of the two blocks: 4 columns of each of 4 outputs
};

template <DType kType>
[[gnu::always_inline]] inline Weights LoadWeights(const std::byte* from, int8x16_t table) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(from);
  if constexpr (kType == DType::kQ8_0) {
    const uint8x16_t flip = vdupq_n_u8(128);  // x is signed, and so must be the weights
    return {vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes), flip)),
            vreinterpretq_s8_u8(veorq_u8(vld1q_u8(bytes + 512), flip))};
  } else {
    const uint8x16_t nibbles = vld1q_u8(bytes);
    return {vqtbl1q_s8(table, vandq_u8(nibbles, vdupq_n_u8(15))),
            vqtbl1q_s8(table, vshrq_n_u8(nibbles, 4))};
  }
}

/// Scales of four outputs.
[[gnu::always_inline]] inline float32x4_t LoadScales(const std::byte* from) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(from))));
}

/// What the scales of a tile make of the dot products of its two blocks.
[[gnu::always_inline]] inline float32x4_t AddScaled(float32x4_t sum, const int32x4_t (&dots)[2],
                                                    const float32x4_t (&w_scales)[2],
                                                    const float* x_scales) {
  sum = vfmaq_f32(sum, vcvtq_f32_s32(dots[0]), vmulq_n_f32(w_scales[0], x_scales[0]));
  return vfmaq_f32(sum, vcvtq_f32_s32(dots[1]), vmulq_n_f32(w_scales[1], x_scales[1]));
}

/// Some rows of x on their way through a strip.
template <size_t kR>
struct RowWalk {
  const int8_t* q[kR];
  const float* scales[kR];
  float32x4_t sums[kR][kStripRows / kQuarter];

  RowWalk(const QuantizedTask& task, size_t row) {
    const size_t num_tiles = task.x.num_tiles;
    for (size_t r = 0; r < kR; ++r) {
      q[r] = task.x.q + (row + r) * num_tiles * kTileCols;
      scales[r] = task.x.scales + (row + r) * num_tiles * 2;
      for (float32x4_t& sum : sums[r]) sum = vdupq_n_f32(0);
    }
  }

  [[gnu::always_inline]] void Advance() {
#pragma GCC unroll 8
    for (size_t r = 0; r < kR; ++r) {
      q[r] += kTileCols;
      scales[r] += 2;
    }
  }

  void Store(const QuantizedTask& task, size_t row, size_t strip) const {
    for (size_t r = 0; r < kR; ++r) {
      float out[kStripRows];
      for (size_t i = 0; i < kStripRows; i += kQuarter) vst1q_f32(out + i, sums[r][i / kQuarter]);
      StoreStrip(task, row + r, strip, out);
    }
  }
};

/// dots += four groups (16 columns of either block, from `w` on) times x. Dot::Add<i>(sum, w, x)
/// adds to each 32-bit lane of `sum` its four bytes of w times the four bytes of lane i of x.
template <class Dot, DType kType, size_t kR, int kGroup = 0>
[[gnu::always_inline]] inline void AddGroups(const std::byte* w, int8x16_t table,
                                             const int8x16_t (&x)[kR][2],
                                             int32x4_t (&dots)[kR][2]) {
  const Weights weights = LoadWeights<kType>(w + kGroup * 64, table);
#pragma GCC unroll 4
  for (size_t r = 0; r < kR; ++r) {
    dots[r][0] = Dot::template Add<kGroup>(dots[r][0], weights.first, x[r][0]);
    dots[r][1] = Dot::template Add<kGroup>(dots[r][1], weights.second, x[r][1]);
  }
  if constexpr (kGroup < 3) AddGroups<Dot, kType, kR, kGroup + 1>(w, table, x, dots);
}

/// kR rows of x from `row` on, times a strip.
template <class Dot, DType kType, size_t kR>
void MultiplyStrip(const QuantizedTask& task, size_t row, size_t strip) {
  const int8x16_t table = vld1q_s8(kQ4Values);
  const std::byte* tile = task.strips + strip * task.x.num_tiles * TileBytes(kType);
  RowWalk<kR> walk(task, row);
  for (size_t t = 0; t < task.x.num_tiles; ++t, tile += TileBytes(kType), walk.Advance()) {
#pragma GCC unroll 1
    for (size_t quarter = 0; quarter < kStripRows / kQuarter; ++quarter) {
      int32x4_t dots[kR][2] = {};
#pragma GCC unroll 2
      for (size_t half = 0; half < 2; ++half) {
        int8x16_t x[kR][2];
#pragma GCC unroll 4
        for (size_t r = 0; r < kR; ++r) {
          x[r][0] = vld1q_s8(walk.q[r] + half * 16);
          x[r][1] = vld1q_s8(walk.q[r] + half * 16 + kBlock);
        }
        AddGroups<Dot, kType, kR>(tile + 64 + half * 256 + quarter * 16, table, x, dots);
      }
      const std::byte* scales = tile + quarter * kQuarter * 2;
      const float32x4_t w_scales[2] = {LoadScales(scales), LoadScales(scales + 32)};
#pragma GCC unroll 4
      for (size_t r = 0; r < kR; ++r) {
        float32x4_t& sum = walk.sums[r][quarter];
        sum = AddScaled(sum, dots[r], w_scales, walk.scales[r]);
      }
    }
  }
  walk.Store(task, row, strip);
}

/// Strip by strip, so that a strip is read from memory once for all rows; Dot::kRows of them share
/// its weights.
template <class Dot, DType kType>
void MultiplyStrips(const QuantizedTask& task) {
  for (size_t strip = 0; strip < NumStrips(task.num_outputs); ++strip) {
    size_t row = 0;
    if constexpr (Dot::kRows == 4) {
      for (; row + 4 <= task.x.num_rows; row += 4) MultiplyStrip<Dot, kType, 4>(task, row, strip);
    }
    for (; row + 2 <= task.x.num_rows; row += 2) MultiplyStrip<Dot, kType, 2>(task, row, strip);
    for (; row < task.x.num_rows; ++row) MultiplyStrip<Dot, kType, 1>(task, row, strip);
  }
}

template <class Dot>
void Multiply(const QuantizedTask& task) {
  task.dtype == DType::kQ8_0 ? MultiplyStrips<Dot, DType::kQ8_0>(task)
                             : MultiplyStrips<Dot, DType::kQ4>(task);
}

/// QuantizedTarget::multiply_many; step(sum, w, x) does `kMulAdds` in one instruction or few.
template <size_t kMulAdds, class Step>
int32_t MultiplyInRegisters(size_t rounds, size_t& num_mul_adds, const Step& step) {
  constexpr size_t kChains = 16;  // more than latency times instructions a cycle
  int32x4_t sums[kChains];
#pragma GCC unroll 16
  for (size_t k = 0; k < kChains; ++k) sums[k] = vdupq_n_s32(static_cast<int32_t>(k));
  int8x16_t w = vdupq_n_s8(3);
  const int8x16_t x = vdupq_n_s8(-2);
  for (size_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (size_t k = 0; k < kChains; ++k) {
      asm volatile("" : "+w"(w));  // or the compiler would multiply once for all
      sums[k] = step(sums[k], w, x);
    }
  }
  for (size_t k = 1; k < kChains; ++k) sums[0] = vaddq_s32(sums[0], sums[k]);
  num_mul_adds = rounds * kChains * kMulAdds;
  return vgetq_lane_s32(sums[0], 0);
}

}  // namespace
}  // namespace csm::kernels

#endif  // CSM_KERNELS_QUANTIZED_NEON_H_

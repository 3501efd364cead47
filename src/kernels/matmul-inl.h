// Products with f32, f16 and bf16 weights, in strips (packed.h). A tile of kR rows of x and kS
// strips keeps its sums in registers and walks the columns one by one: 16 weights of a strip times
// one x, broadcast.
//
// The canonical order of every sum, whatever tile computes it and on every instruction set:
// sum = fma(x[i], w[i], sum) for the columns in turn.
//
// Bound for few rows: bytes of the weights. A core gets more of the memory's bandwidth the more
// places it reads in turn, so strips are walked side by side, each the start of a contiguous part.
// Bound for many rows: multiply-adds. Nothing is summed across lanes and nothing is copied, so even
// 32 columns reach the peak; a tile's strips stay in the second-level cache while all rows pass.
#if defined(CSM_KERNELS_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CSM_KERNELS_MATMUL_INL_H_
#undef CSM_KERNELS_MATMUL_INL_H_
#else
#define CSM_KERNELS_MATMUL_INL_H_
#endif

#include <algorithm>

#include "kernels/load-inl.h"
#include "kernels/matmul_task.h"
#include "kernels/packed.h"

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

constexpr size_t kVecs = kStripRows / kLanes;  // vectors of a strip's outputs
static_assert(kStripRows % kLanes == 0);

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON || \
    HWY_TARGET == HWY_SVE_256
constexpr size_t kMaxSums = 24;  // of 32 registers
#else
constexpr size_t kMaxSums = 12;  // of 16
#endif

// Rows of a tile of so many strips. Rows far apart by a power of two fall on the same sets of the
// first-level cache, which has 8 ways or more: 6 rows of 4 strips do not suffer from it.
constexpr size_t TallestTile(size_t num_strips) {
  return std::max<size_t>(1, kMaxSums / (num_strips * kVecs));
}
constexpr size_t NextHeight(size_t height) { return height > 4 ? 4 : height / 2; }

// Strips of a tile. One row needs them for its chains of sums and its streams; with several rows
// they save loads of x where the registers allow.
constexpr size_t kMostStrips = 4;
constexpr size_t StripsFor(size_t num_rows) {
  if (num_rows == 1 || kVecs == 1) return kMostStrips;
  return num_rows <= 3 ? 2 : 1;
}

template <size_t kR, size_t kS>
struct Tile {
  const float* x;  // of the tile's first row
  size_t x_stride;
  const std::byte* w[kS];
  VFElement sums[kR][kS][kVecs];

  HWY_INLINE Tile() {}  // written out, since GCC makes a default one without Highway's target

  // `load` gives vector v of a strip's weights of column i of x.
  template <class Load>
  HWY_INLINE void MulAddColumn(size_t i, const Load& load) {
    VFElement weights[kS][kVecs];
#pragma GCC unroll 4
    for (size_t s = 0; s < kS; ++s) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVecs; ++v) weights[s][v] = load(w[s], v);
    }
#pragma GCC unroll 24
    for (size_t r = 0; r < kR; ++r) {
      const VF xv = hn::Set(DF(), x[r * x_stride + i]);
#pragma GCC unroll 4
      for (size_t s = 0; s < kS; ++s) {
#pragma GCC unroll 16
        for (size_t v = 0; v < kVecs; ++v) {
          sums[r][s][v] = hn::MulAdd(xv, weights[s][v], sums[r][s][v]);
        }
      }
    }
  }

  HWY_INLINE void Advance(size_t num_bytes) {
#pragma GCC unroll 4
    for (size_t s = 0; s < kS; ++s) w[s] += num_bytes;
  }

  HWY_INLINE void MulAddColumns(float, size_t num_cols) {
    const auto load = [](const std::byte* p, size_t v) HWY_ATTR {
      return hn::Load(DF(), reinterpret_cast<const float*>(p) + v * kLanes);
    };
    for (size_t i = 0; i < num_cols; ++i) {
      MulAddColumn(i, load);
      Advance(kStripRows * 4);
    }
  }

  HWY_INLINE void MulAddColumns(F16, size_t num_cols) {
    const auto load = [](const std::byte* p, size_t v) HWY_ATTR {
      return Widen(F16{}, hn::Load(DU16(), reinterpret_cast<const uint16_t*>(p) + v * kLanes));
    };
    for (size_t i = 0; i < num_cols; ++i) {
      MulAddColumn(i, load);
      Advance(kStripRows * 2);
    }
  }

  HWY_INLINE void MulAddColumns(BF16, size_t num_cols) {
    const auto load_pair = [](const std::byte* p, size_t v) HWY_ATTR {
      return hn::Load(DU(), reinterpret_cast<const uint32_t*>(p) + v * kLanes);
    };
    const auto load_even = [&](const std::byte* p, size_t v) HWY_ATTR {
      return hn::BitCast(DF(), hn::ShiftLeft<16>(load_pair(p, v)));
    };
    const auto load_odd = [&](const std::byte* p, size_t v) HWY_ATTR {
      return hn::BitCast(DF(), hn::And(load_pair(p, v), hn::Set(DU(), 0xFFFF0000U)));
    };
    size_t i = 0;
    for (; i + 2 <= num_cols; i += 2) {
      MulAddColumn(i, load_even);
      MulAddColumn(i + 1, load_odd);
      Advance(kStripRows * 4);
    }
    if (i < num_cols) MulAddColumn(i, load_even);
  }
};

// Stores outputs: y = sum (+ y) (+ bias), in this order.
HWY_INLINE void StoreOutputs(const MatMulTask& task, size_t row, size_t output, VF sum) {
  float* y = task.y + row * task.y_stride + output;
  const float* bias = task.bias == nullptr ? nullptr : task.bias + output;
  const size_t n = task.num_outputs - output;
  if (n >= kLanes) {
    if (task.accumulate) sum = hn::Add(sum, LoadF32(y));
    if (bias != nullptr) sum = hn::Add(sum, LoadF32(bias));
    return hn::StoreU(sum, DF(), y);
  }
  if (task.accumulate) sum = hn::Add(sum, LoadF32(y, n));
  if (bias != nullptr) sum = hn::Add(sum, LoadF32(bias, n));
  StoreN(sum, y, n);
}

// Rows [row, row + kR) times kS strips that are `step` apart from `strip` on.
template <class T, size_t kR, size_t kS>
HWY_NOINLINE void RunTile(const MatMulTask& task, size_t row, size_t strip, size_t step) {
  Tile<kR, kS> tile;
  tile.x = task.x.data + row * task.x.stride;
  tile.x_stride = task.x.stride;
#pragma GCC unroll 4
  for (size_t s = 0; s < kS; ++s) {
    tile.w[s] = task.strips + (strip + s * step) * StripBytes(task.dtype, task.cols);
  }
#pragma GCC unroll 24
  for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (size_t s = 0; s < kS; ++s) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVecs; ++v) tile.sums[r][s][v] = hn::Zero(DF());
    }
  }
  tile.MulAddColumns(T{}, task.cols);
#pragma GCC unroll 24
  for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (size_t s = 0; s < kS; ++s) {
#pragma GCC unroll 16
      for (size_t v = 0; v < kVecs; ++v) {
        const size_t output = (strip + s * step) * kStripRows + v * kLanes;
        if (output < task.num_outputs) {
          StoreOutputs(task, row + r, output, tile.sums[r][s][v]);
        }
      }
    }
  }
}

template <class T, size_t kS, size_t kR = TallestTile(kS)>
HWY_INLINE void RunRows(const MatMulTask& task, size_t row, size_t strip, size_t step) {
  for (; row + kR <= task.x.num_rows; row += kR) RunTile<T, kR, kS>(task, row, strip, step);
  if constexpr (kR > 1) RunRows<T, kS, NextHeight(kR)>(task, row, strip, step);
}

// The strips from `strip` on, in groups of kS of which each sees all rows.
template <class T, size_t kS>
HWY_INLINE void RunStrips(const MatMulTask& task, size_t strip) {
  const size_t step = (NumStrips(task.num_outputs) - strip) / kS;
  for (size_t s = 0; s < step; ++s) RunRows<T, kS>(task, 0, strip + s, step);
  if constexpr (kS > 1) RunStrips<T, kS / 2>(task, strip + kS * step);
}

template <class T>
HWY_INLINE void RunTaskOf(const MatMulTask& task) {
  switch (StripsFor(task.x.num_rows)) {
    case 4:
      return RunStrips<T, 4>(task, 0);
    case 2:
      return RunStrips<T, 2>(task, 0);
    default:
      return RunStrips<T, 1>(task, 0);
  }
}

// One definition per target: Highway compiles this file into a namespace of its own for each.
// NOLINTNEXTLINE(misc-definitions-in-headers)
void RunTask(const MatMulTask& task) {
  switch (task.dtype) {
    case DType::kF32:
      return RunTaskOf<float>(task);
    case DType::kF16:
      return RunTaskOf<F16>(task);
    case DType::kBF16:
      return RunTaskOf<BF16>(task);
    default:
      HWY_DASSERT(false);  // quantized products take another way
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#endif  // CSM_KERNELS_MATMUL_INL_H_

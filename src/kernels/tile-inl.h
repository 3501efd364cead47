// Tiles of dot products. A tile of R rows of x and C rows of the weight keeps R * C vectors of
// sums in registers and walks the columns by whole vectors, so each load feeds R or C products.
//
// The canonical order of every sum, whatever tile computes it: lane j adds the products of columns
// j, j + kLanes, j + 2 kLanes, ... with MulAdd, zeros past the end; then SumLanes4 adds the lanes.
#if defined(CSM_KERNELS_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CSM_KERNELS_TILE_INL_H_
#undef CSM_KERNELS_TILE_INL_H_
#else
#define CSM_KERNELS_TILE_INL_H_
#endif

#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON || \
    HWY_TARGET == HWY_SVE_256
constexpr size_t kTileRows = 6;  // 24 sums of 32 registers
#else
constexpr size_t kTileRows = 3;  // 12 sums of 16 registers
#endif
constexpr size_t kTileOutputs = 4;

template <size_t kR, size_t kC = kTileOutputs>
struct Sums {
  HWY_INLINE Sums() {}  // written out, since GCC makes a default one without Highway's target
  VFElement v[kR][kC];
};

template <size_t kR, size_t kC>
HWY_INLINE void Clear(Sums<kR, kC>& sums) {
#pragma GCC unroll 8
  for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (size_t c = 0; c < kC; ++c) sums.v[r][c] = hn::Zero(DF());
  }
}

// Adds the products of one vector of columns; `load` loads from a row's address plus `i`. The
// rows of x wait in registers and the weights come one by one: 24 + 6 + 1 registers of
// AVX-512's 32.
template <size_t kR, size_t kC, class T, class Load>
HWY_INLINE void MulAddStep(const float* x, size_t x_stride, const T* const (&w)[kC],
                           const Load& load, Sums<kR, kC>& sums) {
  VFElement xv[kR];
#pragma GCC unroll 8
  for (size_t r = 0; r < kR; ++r) xv[r] = load(x + r * x_stride);
#pragma GCC unroll 8
  for (size_t c = 0; c < kC; ++c) {
    const VF wv = load(w[c]);
#pragma GCC unroll 8
    for (size_t r = 0; r < kR; ++r) sums.v[r][c] = hn::MulAdd(xv[r], wv, sums.v[r][c]);
  }
}

// Adds columns [0, n) of rows x + r * x_stride times the weight rows w[c].
template <size_t kR, size_t kC, class T>
HWY_INLINE void MulAddColumns(const float* x, size_t x_stride, const T* const (&w)[kC], size_t n,
                              Sums<kR, kC>& sums) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto load = [i](const auto* p) HWY_ATTR { return LoadF32(p + i); };
    MulAddStep(x, x_stride, w, load, sums);
  }
  if (i == n) return;
  const auto load = [i, n](const auto* p) HWY_ATTR { return LoadF32(p + i, n - i); };
  MulAddStep(x, x_stride, w, load, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#endif  // CSM_KERNELS_TILE_INL_H_

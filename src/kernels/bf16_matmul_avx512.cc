// Bf16Task with AVX512-BF16, whose vdpbf16ps adds two products of bf16 to each f32 lane: a vector
// of weights (2 columns of 16 rows, as packed.h has them) times 2 columns of x for all.
//
// Bound for few rows: bytes of the weights, as in matmul-inl.h. Bound for many rows: one vdpbf16ps
// a cycle on Zen 4, 32 multiply-adds; 6 rows of 4 strips keep 24 sums in registers.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined vectors of its own avx512fintrin.h for a mistake (bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "kernels/bf16_matmul.h"
#include "kernels/strip_store_avx512.h"

namespace csm::kernels {

void RunBf16Avx512(const Bf16Task& task);
float MultiplyManyBf16Avx512(size_t rounds, size_t& num_mul_adds);

namespace {

inline __m512bh BroadcastPair(const uint16_t* x) {
  int32_t pair;
  __builtin_memcpy(&pair, x, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

inline __m512bh LoadPairs(const std::byte* w) { return (__m512bh)_mm512_load_si512(w); }

// kR rows of x from `row` on, times kS strips that are `step` apart from `strip` on.
template <size_t kR, size_t kS>
void Tile(const Bf16Task& task, size_t row, size_t strip, size_t step) {
  constexpr size_t kPairBytes = kStripRows * 4;
  const size_t num_pairs = task.x.num_pairs, x_stride = num_pairs * 2;
  const uint16_t* x = task.x.data + row * x_stride;
  const std::byte* w[kS];
  __m512 sums[kR][kS];
#pragma GCC unroll 4
  for (size_t c = 0; c < kS; ++c) {
    w[c] = task.strips + (strip + c * step) * num_pairs * kPairBytes;
#pragma GCC unroll 6
    for (size_t r = 0; r < kR; ++r) sums[r][c] = _mm512_setzero_ps();
  }
  for (size_t i = 0; i < num_pairs; ++i) {
    __m512bh weights[kS];
#pragma GCC unroll 4
    for (size_t c = 0; c < kS; ++c) weights[c] = LoadPairs(w[c] + i * kPairBytes);
#pragma GCC unroll 6
    for (size_t r = 0; r < kR; ++r) {
      const __m512bh pair = BroadcastPair(x + r * x_stride + i * 2);
#pragma GCC unroll 4
      for (size_t c = 0; c < kS; ++c) {
        sums[r][c] = _mm512_dpbf16_ps(sums[r][c], weights[c], pair);
      }
    }
  }
#pragma GCC unroll 6
  for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kS; ++c) StoreSums(task, row + r, strip + c * step, sums[r][c]);
  }
}

template <size_t kS, size_t kR = 6>
void Rows(const Bf16Task& task, size_t row, size_t strip, size_t step) {
  for (; row + kR <= task.x.num_rows; row += kR) Tile<kR, kS>(task, row, strip, step);
  if constexpr (kR > 1) Rows<kS, (kR > 4 ? 4 : kR / 2)>(task, row, strip, step);
}

// The strips from `strip` on, in groups of kS of which each sees all rows.
template <size_t kS>
void Groups(const Bf16Task& task, size_t strip) {
  const size_t step = (NumStrips(task.num_outputs) - strip) / kS;
  for (size_t s = 0; s < step; ++s) Rows<kS>(task, 0, strip + s, step);
  if constexpr (kS > 1) Groups<kS / 2>(task, strip + kS * step);
}

}  // namespace

void RunBf16Avx512(const Bf16Task& task) { Groups<4>(task, 0); }

float MultiplyManyBf16Avx512(size_t rounds, size_t& num_mul_adds) {
  constexpr size_t kChains = 12;  // more than latency times instructions a cycle
  __m512 sums[kChains];
#pragma GCC unroll 12
  for (size_t k = 0; k < kChains; ++k) sums[k] = _mm512_set1_ps(static_cast<float>(k));
  __m512i w = _mm512_set1_epi16(0x3F80);  // ones
  for (size_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(w));  // or the compiler would multiply once by the rounds
#pragma GCC unroll 12
    for (size_t k = 0; k < kChains; ++k) {
      sums[k] = _mm512_dpbf16_ps(sums[k], (__m512bh)w, (__m512bh)w);
    }
  }
  for (size_t k = 1; k < kChains; ++k) sums[0] = _mm512_add_ps(sums[0], sums[k]);
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, sums[0]);
  num_mul_adds = rounds * kChains * 32;
  return lanes[0];
}

}  // namespace csm::kernels

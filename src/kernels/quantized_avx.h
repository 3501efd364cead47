// What the files of quantized products in vectors of 256 bits share: the walk along strips, to
// which a file adds its instructions for dot products. A vector holds 4 columns of 8 outputs.
//
// Bound for few rows: bytes of the weights, read as four strips side by side, since a core gets
// more of the memory's bandwidth the more places it reads. Bound for many rows: dot products; 4
// rows of 2 strips share each loading and decoding of weights, which leaves 8 sums in 16 registers.
#ifndef CSM_KERNELS_QUANTIZED_AVX_H_
#define CSM_KERNELS_QUANTIZED_AVX_H_

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined vectors of its own avx512vlintrin.h for a mistake (bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "kernels/strip_store.h"

namespace csm::kernels {
namespace {  // strip_store.h says why

/// Four columns of block `half` of 8 outputs, as bytes + 128 or signed as `Dot` wants them.
template <class Dot, DType kType>
[[gnu::always_inline]] inline __m256i LoadWeights(const std::byte* group, size_t half,
                                                  __m256i table) {
  if constexpr (kType == DType::kQ8_0) {
    const __m256i bytes = _mm256_load_si256(reinterpret_cast<const __m256i*>(group + half * 512));
    return Dot::kSigned ? _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)) : bytes;
  } else {
    __m256i nibbles = _mm256_load_si256(reinterpret_cast<const __m256i*>(group));
    if (half == 1) nibbles = _mm256_srli_epi16(nibbles, 4);
    return _mm256_shuffle_epi8(table, _mm256_and_si256(nibbles, _mm256_set1_epi8(15)));
  }
}

/// vpdpbusd, of whichever instruction set: it adds four products of unsigned and signed bytes to
/// each 32-bit lane.
template <__m256i (*kDot)(__m256i sum, __m256i w, __m256i x)>
struct UnsignedDot {
  static constexpr bool kSigned = false;

  struct Weights {
    __m256i w;

    [[gnu::always_inline]] explicit Weights(__m256i bytes) : w(bytes) {}
  };

  [[gnu::always_inline]] static __m256i Add(__m256i sum, const Weights& weights, __m256i x) {
    return kDot(sum, weights.w, x);
  }
};

/// kR rows of x and kS strips on their way through the tiles. Dot::Weights is made of a vector of
/// weights; Dot::Add(sum, weights, x) adds to each 32-bit lane of `sum` its four bytes of the
/// weights times those of x.
template <class Dot, DType kType, size_t kR, size_t kS>
struct StripWalk {
  const std::byte* tile[kS];
  const int8_t* q[kR];
  const float* scales[kR];
  const int32_t* corrections[kR];
  __m256 sums[2][kR][kS];  // of the lower and the upper 8 outputs

  StripWalk(const QuantizedTask& task, size_t row, size_t strip, size_t step) {
    const size_t num_tiles = task.x.num_tiles, num_strips = NumStrips(task.num_outputs);
    for (size_t c = 0; c < kS; ++c) {
      // Past the last: computed again, not stored.
      const size_t s = Smaller(strip + c * step, num_strips - 1);
      tile[c] = task.strips + s * num_tiles * TileBytes(kType);
    }
    for (size_t r = 0; r < kR; ++r) {
      q[r] = task.x.q + (row + r) * num_tiles * kTileCols;
      scales[r] = task.x.scales + (row + r) * num_tiles * 2;
      corrections[r] = task.x.corrections + (row + r) * num_tiles * 2;
      for (size_t c = 0; c < kS; ++c) sums[0][r][c] = sums[1][r][c] = _mm256_setzero_ps();
    }
  }

  /// Block `half` of 8 outputs of each strip: exact dot products, scaled and added.
  [[gnu::always_inline]] void AddBlock(size_t upper, size_t half, __m256i table) {
    __m256i dots[kR][kS];
#pragma GCC unroll 4
    for (size_t r = 0; r < kR; ++r) {
      const __m256i first =
          Dot::kSigned ? _mm256_setzero_si256() : _mm256_set1_epi32(corrections[r][half]);
#pragma GCC unroll 4
      for (size_t c = 0; c < kS; ++c) dots[r][c] = first;
    }
#pragma GCC unroll 8
    for (size_t group = 0; group < 8; ++group) {
#pragma GCC unroll 4
      for (size_t c = 0; c < kS; ++c) {
        const std::byte* from = tile[c] + 64 + group * 64 + upper * 32;
        const typename Dot::Weights w(LoadWeights<Dot, kType>(from, half, table));
#pragma GCC unroll 4
        for (size_t r = 0; r < kR; ++r) {
          int32_t bytes;
          __builtin_memcpy(&bytes, q[r] + half * kBlock + group * 4, sizeof bytes);
          dots[r][c] = Dot::Add(dots[r][c], w, _mm256_set1_epi32(bytes));
        }
      }
    }
#pragma GCC unroll 4
    for (size_t c = 0; c < kS; ++c) {
      const auto* halves = reinterpret_cast<const __m128i*>(tile[c] + half * 32 + upper * 16);
      const __m256 w_scales = _mm256_cvtph_ps(_mm_load_si128(halves));
#pragma GCC unroll 4
      for (size_t r = 0; r < kR; ++r) {
        const __m256 scale = _mm256_mul_ps(w_scales, _mm256_set1_ps(scales[r][half]));
        __m256& sum = sums[upper][r][c];
        sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[r][c]), scale, sum);
      }
    }
  }

  [[gnu::always_inline]] void AddTile(__m256i table) {
    AddBlock(0, 0, table);
    AddBlock(1, 0, table);
    AddBlock(0, 1, table);
    AddBlock(1, 1, table);
    for (size_t c = 0; c < kS; ++c) tile[c] += TileBytes(kType);
    for (size_t r = 0; r < kR; ++r) {
      q[r] += kTileCols;
      scales[r] += 2;
      corrections[r] += 2;
    }
  }
};

/// The rows from `row` on, kR at a time, as long as there are so many, times kS strips that are
/// `step` apart from `strip` on; returns the next row.
template <class Dot, DType kType, size_t kR, size_t kS>
size_t MultiplyRows(const QuantizedTask& task, size_t row, size_t strip, size_t step,
                    __m256i table) {
  for (; row + kR <= task.x.num_rows; row += kR) {
    StripWalk<Dot, kType, kR, kS> walk(task, row, strip, step);
    for (size_t t = 0; t < task.x.num_tiles; ++t) walk.AddTile(table);
    for (size_t r = 0; r < kR; ++r) {
      for (size_t c = 0; c < kS && strip + c * step < NumStrips(task.num_outputs); ++c) {
        alignas(32) float out[kStripRows];
        _mm256_store_ps(out, walk.sums[0][r][c]);
        _mm256_store_ps(out + 8, walk.sums[1][r][c]);
        StoreStrip(task, row + r, strip + c * step, out);
      }
    }
  }
  return row;
}

/// Four strips at a time, each for all rows, so that it is read from memory once.
template <class Dot, DType kType>
void MultiplyStrips(const QuantizedTask& task) {
  alignas(16) int8_t values[16];
  for (size_t i = 0; i < 16; ++i) {
    values[i] = static_cast<int8_t>(kQ4Values[i] ^ (Dot::kSigned ? 0 : -128));
  }
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
  const size_t step = (NumStrips(task.num_outputs) + 3) / 4;
  for (size_t s = 0; s < step; ++s) {
    MultiplyRows<Dot, kType, 4, 2>(task, 0, s, step, table);
    size_t row = MultiplyRows<Dot, kType, 4, 2>(task, 0, s + 2 * step, step, table);
    row = MultiplyRows<Dot, kType, 2, 4>(task, row, s, step, table);
    MultiplyRows<Dot, kType, 1, 4>(task, row, s, step, table);
  }
}

template <class Dot>
void Multiply(const QuantizedTask& task) {
  task.dtype == DType::kQ8_0 ? MultiplyStrips<Dot, DType::kQ8_0>(task)
                             : MultiplyStrips<Dot, DType::kQ4>(task);
}

/// QuantizedTarget::multiply_many.
template <class Dot>
int32_t MultiplyInRegisters(size_t rounds, size_t& num_mul_adds) {
  constexpr size_t kChains = 10;  // more than latency times instructions a cycle
  __m256i sums[kChains];
#pragma GCC unroll 10
  for (size_t k = 0; k < kChains; ++k) sums[k] = _mm256_set1_epi32(static_cast<int32_t>(k));
  typename Dot::Weights w(_mm256_set1_epi8(3));
  __m256i x = _mm256_set1_epi8(-2);
  for (size_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (size_t k = 0; k < kChains; ++k) {
      asm volatile("" : "+x"(x));  // or the compiler would multiply once for all
      sums[k] = Dot::Add(sums[k], w, x);
    }
  }
  for (size_t k = 1; k < kChains; ++k) sums[0] = _mm256_add_epi32(sums[0], sums[k]);
  num_mul_adds = rounds * kChains * 32;
  return _mm256_extract_epi32(sums[0], 0);
}

}  // namespace
}  // namespace csm::kernels

#endif  // CSM_KERNELS_QUANTIZED_AVX_H_

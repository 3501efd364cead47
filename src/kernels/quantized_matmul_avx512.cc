// QuantizedTask with AVX-512 and VNNI, whose vpdpbusd adds four products of unsigned and signed
// bytes to each 32-bit lane: a vector of 64 weights (4 columns of 16 rows) times 4 bytes of x for
// all.
//
// Bound for few rows: bytes of the weights. Strips are read side by side, each from end to end,
// since a core gets more of the memory's bandwidth the more places it reads (one strip alone: 0.4
// of what four get; prefetch instructions add nothing to four). Bound for many rows: one vpdpbusd a
// cycle, 64 multiply-adds. A block's scales cost two more instructions for every 8, so 0.8 of that
// is the most there is; 4 rows of 4 strips reach 0.76 on one core of Zen 4 (12 rows of one strip
// 0.64).
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined vectors of its own avx512fintrin.h for a mistake (bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "kernels/strip_store_avx512.h"

namespace csm::kernels {

void RunQuantizedAvx512(const QuantizedTask& task);
int32_t MultiplyManyAvx512(size_t rounds, size_t& num_mul_adds);

namespace {

// Four columns of block `half` of 16 rows.
template <DType kType>
inline __m512i LoadGroup(const std::byte* tile, size_t half, size_t group, __m512i table) {
  const std::byte* data = tile + 64 + group * 64;
  if constexpr (kType == DType::kQ8_0) return _mm512_load_si512(data + half * 512);
  __m512i nibbles = _mm512_load_si512(data);
  if (half == 1) nibbles = _mm512_srli_epi16(nibbles, 4);
  return _mm512_shuffle_epi8(table, _mm512_and_si512(nibbles, _mm512_set1_epi8(15)));
}

inline __m512i Broadcast4(const int8_t* x) {
  int32_t bytes;
  __builtin_memcpy(&bytes, x, sizeof bytes);
  return _mm512_set1_epi32(bytes);
}

inline __m512 LoadScales(const std::byte* tile, size_t half) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(tile + half * 32)));
}

constexpr size_t kS = 4;  // strips side by side

// kR rows of x and kS strips on their way through the tiles. With kPrefetch they fetch the next
// strips as well: with 8 rows or more, read 4 at a time, memory would rest while all but the first
// 4 are computed (8 and 16 rows take 0.91 to 0.95 of the time).
template <DType kType, size_t kR, bool kPrefetch>
struct Walk {
  const std::byte* tile[kS];
  size_t ahead[kS];  // from a tile to what is fetched with it
  const int8_t* q[kR];
  const float* scales[kR];
  const int32_t* corrections[kR];
  __m512 sums[kR][kS];

  Walk(const QuantizedTask& task, size_t row, size_t strip, size_t step) {
    const size_t num_tiles = task.x.num_tiles, num_strips = NumStrips(task.num_outputs);
    // Each pass over the rows fetches its share of the next strips; 0 is at hand already.
    const size_t num_passes = (task.x.num_rows + 3) / 4, pass = row / 4;
    for (size_t c = 0; c < kS; ++c) {
      ahead[c] = c * Smaller(num_passes, kS) / kS == pass ? num_tiles * TileBytes(kType) : 0;
      // Past the last: computed again, not stored.
      const size_t s = Smaller(strip + c * step, num_strips - 1);
      tile[c] = task.strips + s * num_tiles * TileBytes(kType);
    }
    for (size_t r = 0; r < kR; ++r) {
      q[r] = task.x.q + (row + r) * num_tiles * kTileCols;
      scales[r] = task.x.scales + (row + r) * num_tiles * 2;
      corrections[r] = task.x.corrections + (row + r) * num_tiles * 2;
      for (size_t c = 0; c < kS; ++c) sums[r][c] = _mm512_setzero_ps();
    }
  }

  // A block of each row: exact dot products, scaled and added. One block at a time: walking both at
  // once, half a tile apart, read Q8_0 at 0.6 to 0.7 of the rate.
  [[gnu::always_inline]] void AddBlock(size_t half, __m512i table) {
    __m512i dots[kR][kS];
#pragma GCC unroll 4
    for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (size_t c = 0; c < kS; ++c) dots[r][c] = _mm512_set1_epi32(corrections[r][half]);
    }
#pragma GCC unroll 8
    for (size_t group = 0; group < 8; ++group) {
      __m512i w[kS];
#pragma GCC unroll 4
      for (size_t c = 0; c < kS; ++c) {
        w[c] = LoadGroup<kType>(tile[c], half, group, table);
        if (kPrefetch && (kType == DType::kQ8_0 || half == 0)) {
          const std::byte* next = tile[c] + ahead[c] + 64 + half * 512 + group * 64;
          _mm_prefetch(reinterpret_cast<const char*>(next), _MM_HINT_T1);
        }
      }
#pragma GCC unroll 4
      for (size_t r = 0; r < kR; ++r) {
        const __m512i x = Broadcast4(q[r] + half * kBlock + group * 4);
#pragma GCC unroll 4
        for (size_t c = 0; c < kS; ++c) dots[r][c] = _mm512_dpbusd_epi32(dots[r][c], w[c], x);
      }
    }
#pragma GCC unroll 4
    for (size_t c = 0; c < kS; ++c) {
      const __m512 w_scales = LoadScales(tile[c], half);
#pragma GCC unroll 4
      for (size_t r = 0; r < kR; ++r) {
        const __m512 scale = _mm512_mul_ps(w_scales, _mm512_set1_ps(scales[r][half]));
        sums[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[r][c]), scale, sums[r][c]);
      }
    }
  }

  [[gnu::always_inline]] void Advance() {
#pragma GCC unroll 4
    for (size_t c = 0; c < kS; ++c) tile[c] += TileBytes(kType);
#pragma GCC unroll 4
    for (size_t r = 0; r < kR; ++r) {
      q[r] += kTileCols;
      scales[r] += 2;
      corrections[r] += 2;
    }
  }
};

// kR rows from `row` on, times kS strips that are `step` apart from `strip` on.
template <DType kType, size_t kR, bool kPrefetch>
void Pass(const QuantizedTask& task, size_t row, size_t strip, size_t step, __m512i table) {
  Walk<kType, kR, kPrefetch> walk(task, row, strip, step);
  for (size_t t = 0; t < task.x.num_tiles; ++t) {
    walk.AddBlock(0, table);
    walk.AddBlock(1, table);
    walk.Advance();
  }
#pragma GCC unroll 4
  for (size_t c = 0; c < kS; ++c) {
    if (strip + c * step >= NumStrips(task.num_outputs)) break;
#pragma GCC unroll 4
    for (size_t r = 0; r < kR; ++r) StoreSums(task, row + r, strip + c * step, walk.sums[r][c]);
  }
}

// The rows from `row` on, kR at a time, as long as there are so many; returns the next row.
template <DType kType, size_t kR>
size_t Rows(const QuantizedTask& task, size_t row, size_t strip, size_t step, __m512i table) {
  for (; row + kR <= task.x.num_rows; row += kR) {
    const bool prefetch = task.x.num_rows > 4 && row / 4 < kS;
    prefetch ? Pass<kType, kR, true>(task, row, strip, step, table)
             : Pass<kType, kR, false>(task, row, strip, step, table);
  }
  return row;
}

// Strips, kS at a time, each for all rows, so that it is read from memory once.
template <DType kType>
void Run(const QuantizedTask& task) {
  alignas(16) uint8_t values[16];
  for (size_t i = 0; i < 16; ++i) values[i] = static_cast<uint8_t>(kQ4Values[i] + 128);
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
  const size_t step = (NumStrips(task.num_outputs) + kS - 1) / kS;
  for (size_t s = 0; s < step; ++s) {
    size_t row = Rows<kType, 4>(task, 0, s, step, table);
    row = Rows<kType, 2>(task, row, s, step, table);
    Rows<kType, 1>(task, row, s, step, table);
  }
}

}  // namespace

int32_t MultiplyManyAvx512(size_t rounds, size_t& num_mul_adds) {
  constexpr size_t kChains = 12;  // more than latency times instructions a cycle
  __m512i sums[kChains];
#pragma GCC unroll 12
  for (size_t k = 0; k < kChains; ++k) sums[k] = _mm512_set1_epi32(static_cast<int32_t>(k));
  __m512i w = _mm512_set1_epi8(3);
  const __m512i x = _mm512_set1_epi8(-2);
  for (size_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+v"(w));  // or the compiler would multiply once by the rounds
#pragma GCC unroll 12
    for (size_t k = 0; k < kChains; ++k) sums[k] = _mm512_dpbusd_epi32(sums[k], w, x);
  }
  for (size_t k = 1; k < kChains; ++k) sums[0] = _mm512_add_epi32(sums[0], sums[k]);
  num_mul_adds = rounds * kChains * 64;
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, sums[0]);
  return lanes[0];
}

void RunQuantizedAvx512(const QuantizedTask& task) {
  task.dtype == DType::kQ8_0 ? Run<DType::kQ8_0>(task) : Run<DType::kQ4>(task);
}

}  // namespace csm::kernels

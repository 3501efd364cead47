// PackedTask with AVX-512 and VNNI, whose vpdpbusd adds four products of unsigned and signed bytes
// to each 32-bit lane: a vector of 64 weights (4 columns of 16 rows) times 4 bytes of x for all.
//
// Bound for few rows: bytes of the weights. A strip is read from end to end, several strips at a
// time since a core gets more of the memory's bandwidth the more places it reads (matmul-inl.h).
// Bound for many rows: one vpdpbusd a cycle, 64 multiply-adds; 8 rows share each load and decoding
// of the weights, which stay in the second-level cache while all rows pass.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the undefined vectors of its own avx512fintrin.h for a mistake (bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "kernels/packed_store.h"

namespace csm::kernels {

void RunPackedAvx512(const PackedTask& task);
int32_t MultiplyManyAvx512(size_t rounds, size_t& num_mul_adds);

namespace {

struct Weights {
  __m512i first, second;  // of the two blocks
};

template <DType kType>
inline Weights LoadGroup(const std::byte* tile, size_t group, __m512i table) {
  const std::byte* data = tile + 64 + group * 64;
  if constexpr (kType == DType::kQ8_0) {
    return {_mm512_load_si512(data), _mm512_load_si512(data + 512)};
  } else {
    const __m512i nibbles = _mm512_load_si512(data);
    const __m512i low = _mm512_set1_epi8(15);
    return {_mm512_shuffle_epi8(table, _mm512_and_si512(nibbles, low)),
            _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(nibbles, 4), low))};
  }
}

inline __m512i Broadcast4(const int8_t* x) {
  int32_t bytes;
  __builtin_memcpy(&bytes, x, sizeof bytes);
  return _mm512_set1_epi32(bytes);
}

inline __m512 LoadScales(const std::byte* tile, size_t half) {
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(tile + half * 32)));
}

// kR rows of x and kS strips on their way through the tiles.
template <DType kType, size_t kR, size_t kS>
struct Walk {
  const std::byte* tile[kS];
  const int8_t* q[kR];
  const float* scales[kR];
  const int32_t* corrections[kR];
  __m512 sums[kR][kS];

  Walk(const PackedTask& task, size_t row, size_t strip, size_t step) {
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
      for (size_t c = 0; c < kS; ++c) sums[r][c] = _mm512_setzero_ps();
    }
  }

  // One or two streams do not keep enough lines on their way from memory by themselves: 8 rows of
  // 2048 inputs take half the time with this. Four streams do, and lose a third with it.
  [[gnu::always_inline]] static void Prefetch(const std::byte* line) {
    constexpr size_t kAhead = 4096;
    _mm_prefetch(reinterpret_cast<const char*>(line + kAhead), _MM_HINT_T0);
    if constexpr (kType == DType::kQ8_0) {
      _mm_prefetch(reinterpret_cast<const char*>(line + kAhead + 512), _MM_HINT_T0);
    }
  }

  // Exact dot products of the tile's two blocks.
  [[gnu::always_inline]] void Dots(__m512i table, __m512i (&first)[kR][kS],
                                   __m512i (&second)[kR][kS]) {
#pragma GCC unroll 8
    for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 4
      for (size_t c = 0; c < kS; ++c) {
        first[r][c] = _mm512_set1_epi32(corrections[r][0]);
        second[r][c] = _mm512_set1_epi32(corrections[r][1]);
      }
    }
#pragma GCC unroll 8
    for (size_t group = 0; group < 8; ++group) {
      Weights w[kS];
#pragma GCC unroll 4
      for (size_t c = 0; c < kS; ++c) {
        w[c] = LoadGroup<kType>(tile[c], group, table);
        if constexpr (kR > 2) Prefetch(tile[c] + group * 64);
      }
#pragma GCC unroll 8
      for (size_t r = 0; r < kR; ++r) {
        const int8_t* x = q[r] + group * 4;
        const __m512i x0 = Broadcast4(x), x1 = Broadcast4(x + kBlock);
#pragma GCC unroll 4
        for (size_t c = 0; c < kS; ++c) {
          first[r][c] = _mm512_dpbusd_epi32(first[r][c], w[c].first, x0);
          second[r][c] = _mm512_dpbusd_epi32(second[r][c], w[c].second, x1);
        }
      }
    }
  }

  [[gnu::always_inline]] void AddScaled(const __m512i (&first)[kR][kS],
                                        const __m512i (&second)[kR][kS]) {
#pragma GCC unroll 4
    for (size_t c = 0; c < kS; ++c) {
      const __m512 w0 = LoadScales(tile[c], 0), w1 = LoadScales(tile[c], 1);
#pragma GCC unroll 8
      for (size_t r = 0; r < kR; ++r) {
        const __m512 s0 = _mm512_mul_ps(w0, _mm512_set1_ps(scales[r][0]));
        const __m512 s1 = _mm512_mul_ps(w1, _mm512_set1_ps(scales[r][1]));
        sums[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(first[r][c]), s0, sums[r][c]);
        sums[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(second[r][c]), s1, sums[r][c]);
      }
    }
  }

  [[gnu::always_inline]] void Advance() {
#pragma GCC unroll 4
    for (size_t c = 0; c < kS; ++c) tile[c] += TileBytes(kType);
#pragma GCC unroll 8
    for (size_t r = 0; r < kR; ++r) {
      q[r] += kTileCols;
      scales[r] += 2;
      corrections[r] += 2;
    }
  }
};

// kR rows of x from `row` on, times kS strips that are `step` apart from `strip` on.
template <DType kType, size_t kR, size_t kS>
void Strips(const PackedTask& task, size_t row, size_t strip, size_t step, __m512i table) {
  Walk<kType, kR, kS> walk(task, row, strip, step);
  for (size_t t = 0; t < task.x.num_tiles; ++t) {
    __m512i first[kR][kS], second[kR][kS];
    walk.Dots(table, first, second);
    walk.AddScaled(first, second);
    walk.Advance();
  }
  for (size_t r = 0; r < kR; ++r) {
    for (size_t c = 0; c < kS && strip + c * step < NumStrips(task.num_outputs); ++c) {
      alignas(64) float out[kStripRows];
      _mm512_store_ps(out, walk.sums[r][c]);
      StoreStrip(task, row + r, strip + c * step, out);
    }
  }
}

// As many rows together as there are, and as many strips as registers allow. The strips of few rows
// are read as kS streams, each a contiguous part of the task's.
template <DType kType, size_t kR, size_t kS>
size_t Rows(const PackedTask& task, size_t row, __m512i table) {
  const size_t num_strips = NumStrips(task.num_outputs);
  const size_t step = (num_strips + kS - 1) / kS;
  for (; row + kR <= task.x.num_rows; row += kR) {
    for (size_t s = 0; s < step; ++s) Strips<kType, kR, kS>(task, row, s, step, table);
  }
  return row;
}

template <DType kType>
void Run(const PackedTask& task) {
  alignas(16) uint8_t values[16];
  for (size_t i = 0; i < 16; ++i) values[i] = static_cast<uint8_t>(kQ4Values[i] + 128);
  const __m512i table =
      _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(values)));
  size_t row = 0;
  // Many rows: strip by strip, so that a strip is read from memory once for all of them.
  const size_t num_many = task.x.num_rows / 8 * 8;
  if (num_many > 0) {
    for (size_t s = 0; s < NumStrips(task.num_outputs); ++s) {
      for (row = 0; row < num_many; row += 8) Strips<kType, 8, 1>(task, row, s, 1, table);
    }
  }
  row = Rows<kType, 4, 2>(task, row, table);
  row = Rows<kType, 2, 4>(task, row, table);
  Rows<kType, 1, 4>(task, row, table);
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

void RunPackedAvx512(const PackedTask& task) {
  task.dtype == DType::kQ8_0 ? Run<DType::kQ8_0>(task) : Run<DType::kQ4>(task);
}

}  // namespace csm::kernels

// PackedTask with AVX2: vpmaddubsw multiplies unsigned by signed bytes and adds pairs in 16 bits.
// |w| * (x with w's sign) cannot overflow there: 2 * 128 * 127 < 2^15.
#include <immintrin.h>

#include "kernels/packed_store.h"

namespace csm::kernels {

void RunPackedAvx2(const PackedTask& task);
int32_t MultiplyManyAvx2(size_t rounds, size_t& num_mul_adds);

namespace {

struct Weights {
  __m256i first, second;  // of the two blocks, signed
};

// 8 rows of a group: the lower or the upper ones.
template <DType kType>
inline Weights LoadGroup(const std::byte* tile, size_t group, size_t upper, __m256i table) {
  const auto* data = reinterpret_cast<const __m256i*>(tile + 64 + group * 64 + upper * 32);
  if constexpr (kType == DType::kQ8_0) {
    const __m256i flip = _mm256_set1_epi8(-128);
    return {_mm256_xor_si256(_mm256_load_si256(data), flip),
            _mm256_xor_si256(_mm256_load_si256(data + 16), flip)};
  } else {
    const __m256i nibbles = _mm256_load_si256(data);
    const __m256i low = _mm256_set1_epi8(15);
    return {_mm256_shuffle_epi8(table, _mm256_and_si256(nibbles, low)),
            _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(nibbles, 4), low))};
  }
}

inline __m256i AddDot4(__m256i sum, __m256i w, const int8_t* x) {
  int32_t bytes;
  __builtin_memcpy(&bytes, x, sizeof bytes);
  const __m256i signed_x = _mm256_sign_epi8(_mm256_set1_epi32(bytes), w);
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), signed_x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

template <DType kType>
void Strip(const PackedTask& task, size_t row, size_t strip, __m256i table) {
  const size_t num_tiles = task.x.num_tiles;
  const std::byte* tile = task.strips + strip * num_tiles * TileBytes(kType);
  const int8_t* q = task.x.q + row * num_tiles * kTileCols;
  const float* scales = task.x.scales + row * num_tiles * 2;
  __m256 sums[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (size_t t = 0; t < num_tiles; ++t, tile += TileBytes(kType), q += kTileCols) {
#pragma GCC unroll 2
    for (size_t upper = 0; upper < 2; ++upper) {
      __m256i first = _mm256_setzero_si256(), second = first;
#pragma GCC unroll 8
      for (size_t group = 0; group < 8; ++group) {
        const Weights w = LoadGroup<kType>(tile, group, upper, table);
        first = AddDot4(first, w.first, q + group * 4);
        second = AddDot4(second, w.second, q + kBlock + group * 4);
      }
      const auto* halves = reinterpret_cast<const __m128i*>(tile + upper * 16);
      const __m256 w0 = _mm256_cvtph_ps(_mm_load_si128(halves));
      const __m256 w1 = _mm256_cvtph_ps(_mm_load_si128(halves + 2));
      const __m256 s0 = _mm256_mul_ps(w0, _mm256_set1_ps(scales[2 * t]));
      const __m256 s1 = _mm256_mul_ps(w1, _mm256_set1_ps(scales[2 * t + 1]));
      sums[upper] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(first), s0, sums[upper]);
      sums[upper] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(second), s1, sums[upper]);
    }
  }
  alignas(32) float out[kStripRows];
  _mm256_store_ps(out, sums[0]);
  _mm256_store_ps(out + 8, sums[1]);
  StoreStrip(task, row, strip, out);
}

template <DType kType>
void Run(const PackedTask& task) {
  const __m256i table =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kQ4Values)));
  for (size_t s = 0; s < NumStrips(task.num_outputs); ++s) {
    for (size_t row = 0; row < task.x.num_rows; ++row) Strip<kType>(task, row, s, table);
  }
}

}  // namespace

int32_t MultiplyManyAvx2(size_t rounds, size_t& num_mul_adds) {
  constexpr size_t kChains = 8;
  __m256i sums[kChains];
#pragma GCC unroll 8
  for (size_t k = 0; k < kChains; ++k) sums[k] = _mm256_set1_epi32(static_cast<int32_t>(k));
  __m256i w = _mm256_set1_epi8(3);
  const int8_t x[4] = {-2, -2, -2, -2};
  for (size_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 8
    for (size_t k = 0; k < kChains; ++k) {
      asm volatile("" : "+x"(w));  // or the compiler would multiply once for all
      sums[k] = AddDot4(sums[k], w, x);
    }
  }
  for (size_t k = 1; k < kChains; ++k) sums[0] = _mm256_add_epi32(sums[0], sums[k]);
  num_mul_adds = rounds * kChains * 32;
  return _mm256_extract_epi32(sums[0], 0);
}

void RunPackedAvx2(const PackedTask& task) {
  task.dtype == DType::kQ8_0 ? Run<DType::kQ8_0>(task) : Run<DType::kQ4>(task);
}

}  // namespace csm::kernels

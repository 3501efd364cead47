// QuantizedTask with AVX2: vpmaddubsw multiplies unsigned by signed bytes and adds pairs in 16
// bits. |w| * (x with w's sign) cannot overflow there: 2 * 128 * 127 < 2^15. So 32 multiply-adds
// are four instructions.
#include "kernels/quantized_avx.h"

namespace csm::kernels {

void RunQuantizedAvx2(const QuantizedTask& task);
int32_t MultiplyManyAvx2(size_t rounds, size_t& num_mul_adds);

namespace {

struct SignedDot {
  static constexpr bool kSigned = true;

  struct Weights {
    __m256i signs, magnitudes;

    [[gnu::always_inline]] explicit Weights(__m256i w) : signs(w), magnitudes(_mm256_abs_epi8(w)) {}
  };

  [[gnu::always_inline]] static __m256i Add(__m256i sum, const Weights& w, __m256i x) {
    const __m256i pairs = _mm256_maddubs_epi16(w.magnitudes, _mm256_sign_epi8(x, w.signs));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace

int32_t MultiplyManyAvx2(size_t rounds, size_t& num_mul_adds) {
  return MultiplyInRegisters<SignedDot>(rounds, num_mul_adds);
}

void RunQuantizedAvx2(const QuantizedTask& task) { Multiply<SignedDot>(task); }

}  // namespace csm::kernels

// QuantizedTask with VNNI in vectors of 256 bits. Where there are these, there are those of 512
// bits, which are faster: this is here so that the walk of AVX-VNNI's kernel is tested on such
// machines.
#include "kernels/quantized_avx.h"

namespace csm::kernels {

void RunQuantizedAvx512Vl(const QuantizedTask& task);
int32_t MultiplyManyAvx512Vl(size_t rounds, size_t& num_mul_adds);

namespace {

[[gnu::always_inline]] inline __m256i Dot(__m256i sum, __m256i w, __m256i x) {
  return _mm256_dpbusd_epi32(sum, w, x);
}

}  // namespace

int32_t MultiplyManyAvx512Vl(size_t rounds, size_t& num_mul_adds) {
  return MultiplyInRegisters<UnsignedDot<Dot>>(rounds, num_mul_adds);
}

void RunQuantizedAvx512Vl(const QuantizedTask& task) { Multiply<UnsignedDot<Dot>>(task); }

}  // namespace csm::kernels

// QuantizedTask with AVX-VNNI, the dot products of processors without AVX-512 (Intel's from Alder
// Lake on). It differs from quantized_matmul_avx512vl.cc in the encoding of one instruction, and so
// is tested where that is.
#include "kernels/quantized_avx.h"

namespace csm::kernels {

void RunQuantizedAvxVnni(const QuantizedTask& task);
int32_t MultiplyManyAvxVnni(size_t rounds, size_t& num_mul_adds);

namespace {

[[gnu::always_inline]] inline __m256i Dot(__m256i sum, __m256i w, __m256i x) {
  return _mm256_dpbusd_avx_epi32(sum, w, x);
}

}  // namespace

int32_t MultiplyManyAvxVnni(size_t rounds, size_t& num_mul_adds) {
  return MultiplyInRegisters<UnsignedDot<Dot>>(rounds, num_mul_adds);
}

void RunQuantizedAvxVnni(const QuantizedTask& task) { Multiply<UnsignedDot<Dot>>(task); }

}  // namespace csm::kernels

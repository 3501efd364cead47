#include "kernels/bf16_matmul.h"

#include <cassert>

#include "hwy/detect_compiler_arch.h"
#include "kernels/elementwise.h"

namespace csm::kernels {

Bf16Rows Bf16Buffer::Round(const RowsView& x, size_t cols, ThreadPool& pool) {
  const size_t num_pairs = (cols + 1) / 2;
  if (data_.size() < x.num_rows * num_pairs * 2) data_.resize(x.num_rows * num_pairs * 2);
  constexpr size_t kMinRowsToShare = 4;
  pool.ParallelForIf(x.num_rows >= kMinRowsToShare, x.num_rows, [&](size_t r) {
    uint16_t* row = data_.data() + r * num_pairs * 2;
    Convert(x.data + r * x.stride, DType::kF32, row, DType::kBF16, cols);
    if (cols % 2 == 1) row[cols] = 0;
  });
  return {data_.data(), x.num_rows, num_pairs};
}

#if HWY_ARCH_X86_64

void RunBf16Avx512(const Bf16Task& task);
float MultiplyManyBf16Avx512(size_t rounds, size_t& num_mul_adds);

bool HasBf16Products() { return __builtin_cpu_supports("avx512bf16") != 0; }
void RunBf16(const Bf16Task& task) { RunBf16Avx512(task); }
float MultiplyManyBf16(size_t rounds, size_t& num_mul_adds) {
  return MultiplyManyBf16Avx512(rounds, num_mul_adds);
}

#else

bool HasBf16Products() { return false; }
void RunBf16(const Bf16Task&) { assert(!"ask HasBf16Products first"); }
float MultiplyManyBf16(size_t, size_t& num_mul_adds) {
  num_mul_adds = 0;
  return 0;
}

#endif

}  // namespace csm::kernels

// QuantizedTask with Arm's dot products (optional from v8.2 on; Cortex-A55 and A76, Neoverse N1 and
// later have them): sdot adds four products of signed bytes to each 32-bit lane, and takes the four
// bytes of x from a lane, so that 16 of them are one load.
#include "kernels/quantized_neon.h"

namespace csm::kernels {

void RunQuantizedDotprod(const QuantizedTask& task);
int32_t MultiplyManyDotprod(size_t rounds, size_t& num_mul_adds);

namespace {

struct LaneDot {
  static constexpr size_t kRows = 4;

  template <int kLane>
  [[gnu::always_inline]] static int32x4_t Add(int32x4_t sum, int8x16_t w, int8x16_t x) {
    return vdotq_laneq_s32(sum, w, x, kLane);
  }
};

}  // namespace

int32_t MultiplyManyDotprod(size_t rounds, size_t& num_mul_adds) {
  return MultiplyInRegisters<16>(rounds, num_mul_adds, LaneDot::Add<0>);
}

void RunQuantizedDotprod(const QuantizedTask& task) { Multiply<LaneDot>(task); }

}  // namespace csm::kernels

// QuantizedTask with what every 64-bit Arm processor has. Products of bytes have 16 bits; two of
// them fit there as well: 2 * 128 * 127 < 2^15. So 16 multiply-adds are four instructions and the
// spreading of x.
#include "kernels/quantized_neon.h"

namespace csm::kernels {

void RunQuantizedNeon(const QuantizedTask& task);
int32_t MultiplyManyNeon(size_t rounds, size_t& num_mul_adds);

namespace {

struct WideningDot {
  static constexpr size_t kRows = 2;  // four would not fit the registers

  template <int kLane>
  [[gnu::always_inline]] static int32x4_t Add(int32x4_t sum, int8x16_t w, int8x16_t x) {
    const auto x4 = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), kLane));
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x4));
    const int16x8_t high = vmull_high_s8(w, x4);
    return vpadalq_s16(sum, vpaddq_s16(low, high));
  }
};

}  // namespace

int32_t MultiplyManyNeon(size_t rounds, size_t& num_mul_adds) {
  return MultiplyInRegisters<16>(rounds, num_mul_adds, WideningDot::Add<0>);
}

void RunQuantizedNeon(const QuantizedTask& task) { Multiply<WideningDot>(task); }

}  // namespace csm::kernels

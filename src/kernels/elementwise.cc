#include "kernels/elementwise.h"

#include <cmath>

// Highway asks for this order.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise.cc"
#include "kernels/targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
#include "kernels/load-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

// y[i] = f(a[i], ...) by vectors. The last few elements run through the same instructions as the
// others, so an element's bits do not depend on its place.
template <class F, class... In>
HWY_INLINE void Map(const F& f, float* y, size_t n, const In*... in) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(f(LoadF32(in + i)...), DF(), y + i);
  if (i < n) StoreN(f(LoadF32(in + i, n - i)...), y + i, n - i);
}

// Sum of f(x[i]); f(0) must be 0 at the padding, or the mask `n` tells it. Four vectors of partial
// sums hide the latency of the additions.
template <class F>
HWY_INLINE float SumOf(const F& f, const float* x, size_t n) {
  const DF df;
  VFElement sums[4] = {hn::Zero(df), hn::Zero(df), hn::Zero(df), hn::Zero(df)};
  size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (size_t k = 0; k < 4; ++k) sums[k] = f(LoadF32(x + i + k * kLanes), sums[k]);
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] = f(LoadF32(x + i), sums[0]);
  if (i < n) {
    const auto mask = hn::FirstN(df, n - i);
    sums[1] = hn::IfThenElse(mask, f(LoadF32(x + i, n - i), sums[1]), sums[1]);
  }
  return SumLanes(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
}

void RmsNormTarget(const float* x, const float* weight, float eps, float* y, size_t n) {
  const auto square = [](VF v, VF sum) HWY_ATTR { return hn::MulAdd(v, v, sum); };
  const float mean = SumOf(square, x, n) / static_cast<float>(n);
  const VF inverse = hn::Set(DF(), 1.0f / std::sqrt(mean + eps));
  const auto scale = [&](VF v, VF w) HWY_ATTR { return hn::Mul(hn::Mul(v, inverse), w); };
  Map(scale, y, n, x, weight);
}

void LayerNormTarget(const float* x, const float* weight, const float* bias, float eps, float* y,
                     size_t n) {
  const auto plain = [](VF v, VF sum) HWY_ATTR { return hn::Add(v, sum); };
  const VF mean = hn::Set(DF(), SumOf(plain, x, n) / static_cast<float>(n));
  const auto square = [&](VF v, VF sum) HWY_ATTR {
    const VF centred = hn::Sub(v, mean);
    return hn::MulAdd(centred, centred, sum);
  };
  const float variance = SumOf(square, x, n) / static_cast<float>(n);
  const VF inverse = hn::Set(DF(), 1.0f / std::sqrt(variance + eps));
  const auto scale = [&](VF v, VF w, VF b)
                         HWY_ATTR { return hn::MulAdd(hn::Mul(hn::Sub(v, mean), inverse), w, b); };
  Map(scale, y, n, x, weight, bias);
}

void RopeTarget(float* x, const float* cos, const float* sin, size_t n) {
  const size_t half = n / 2;
  const auto rotate = [](VF a, VF b, VF c, VF s, VF& low, VF& high) HWY_ATTR {
    low = hn::NegMulAdd(b, s, hn::Mul(a, c));
    high = hn::MulAdd(a, s, hn::Mul(b, c));
  };
  VF low, high;
  size_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    rotate(LoadF32(x + i), LoadF32(x + half + i), LoadF32(cos + i), LoadF32(sin + i), low, high);
    hn::StoreU(low, DF(), x + i);
    hn::StoreU(high, DF(), x + half + i);
  }
  if (i == half) return;
  const size_t rest = half - i;
  rotate(LoadF32(x + i, rest), LoadF32(x + half + i, rest), LoadF32(cos + i, rest),
         LoadF32(sin + i, rest), low, high);
  StoreN(low, x + i, rest);
  StoreN(high, x + half + i, rest);
}

void SiluMultiplyTarget(float* gate, const float* up, size_t n) {
  const DF df;
  const auto silu = [&](VF g, VF u) HWY_ATTR {
    // exp(88) is finite and large enough: x / (1 + exp(88)) is 0 to 1e-36 for every f32 x < -88
    // that a network produces.
    const VF e = hn::Exp(df, hn::Min(hn::Neg(g), hn::Set(df, 88.0f)));
    return hn::Mul(hn::Div(g, hn::Add(hn::Set(df, 1.0f), e)), u);
  };
  Map(silu, gate, n, gate, up);
}

// erfc(z) for z >= 0 by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26:
// absolute error <= 1.5e-7. `square` is z^2.
HWY_INLINE VF Erfc(VF z, VF square) {
  const DF df;
  const VF one = hn::Set(df, 1.0f);
  const VF t = hn::Div(one, hn::MulAdd(z, hn::Set(df, 0.3275911f), one));
  VF sum = hn::Set(df, 1.061405429f);
  sum = hn::MulAdd(sum, t, hn::Set(df, -1.453152027f));
  sum = hn::MulAdd(sum, t, hn::Set(df, 1.421413741f));
  sum = hn::MulAdd(sum, t, hn::Set(df, -0.284496736f));
  sum = hn::MulAdd(sum, t, hn::Set(df, 0.254829592f));
  return hn::Mul(hn::Mul(sum, t), hn::Exp(df, hn::Neg(square)));
}

void GeluTarget(float* x, size_t n) {
  const DF df;
  const auto gelu = [&](VF v) HWY_ATTR {
    const VF half = hn::Mul(v, hn::Set(df, 0.5f));
    const VF erfc = Erfc(hn::Mul(hn::Abs(v), hn::Set(df, 0.70710678f)), hn::Mul(half, v));
    // 1 + erf(z) = 2 - erfc(z), and 1 + erf(-z) = erfc(z).
    const VF factor =
        hn::IfThenElse(hn::Lt(v, hn::Zero(df)), erfc, hn::Sub(hn::Set(df, 2.0f), erfc));
    return hn::Mul(half, factor);
  };
  Map(gelu, x, n, x);
}

void EluTarget(const float* x, float* y, size_t n) {
  const DF df;
  const auto elu = [&](VF v) HWY_ATTR {
    // Expm1 keeps its relative accuracy near 0, where exp(x) - 1 cancels.
    const VF below = hn::Expm1(df, hn::Min(v, hn::Zero(df)));
    return hn::IfThenElse(hn::Lt(v, hn::Zero(df)), below, v);  // NaN stays NaN
  };
  Map(elu, y, n, x);
}

void AddTarget(const float* x, float* y, size_t n) {
  const auto add = [](VF a, VF b) HWY_ATTR { return hn::Add(a, b); };
  Map(add, y, n, x, y);
}

void AddScaledTarget(const float* x, const float* scale, float* y, size_t n) {
  const auto add = [](VF a, VF s, VF b) HWY_ATTR { return hn::MulAdd(s, a, b); };
  Map(add, y, n, x, scale, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace csm::kernels {
namespace {
HWY_EXPORT(RmsNormTarget);
HWY_EXPORT(LayerNormTarget);
HWY_EXPORT(RopeTarget);
HWY_EXPORT(SiluMultiplyTarget);
HWY_EXPORT(GeluTarget);
HWY_EXPORT(EluTarget);
HWY_EXPORT(AddTarget);
HWY_EXPORT(AddScaledTarget);
}  // namespace

void RmsNorm(const float* x, const float* weight, float eps, float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(RmsNormTarget)(x, weight, eps, y, n);
}

void LayerNorm(const float* x, const float* weight, const float* bias, float eps, float* y,
               size_t n) {
  HWY_DYNAMIC_DISPATCH(LayerNormTarget)(x, weight, bias, eps, y, n);
}

void Rope(float* x, const float* cos, const float* sin, size_t n) {
  HWY_DYNAMIC_DISPATCH(RopeTarget)(x, cos, sin, n);
}

void SiluMultiply(float* gate, const float* up, size_t n) {
  HWY_DYNAMIC_DISPATCH(SiluMultiplyTarget)(gate, up, n);
}

void Gelu(float* x, size_t n) { HWY_DYNAMIC_DISPATCH(GeluTarget)(x, n); }

void Elu(const float* x, float* y, size_t n) { HWY_DYNAMIC_DISPATCH(EluTarget)(x, y, n); }

void Add(const float* x, float* y, size_t n) { HWY_DYNAMIC_DISPATCH(AddTarget)(x, y, n); }

void AddScaled(const float* x, const float* scale, float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddScaledTarget)(x, scale, y, n);
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

// Narrowing of f32 vectors to the 16-bit formats: ToF16 and ToBF16 of half.h, lane by lane.
#if defined(CSM_KERNELS_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CSM_KERNELS_CONVERT_INL_H_
#undef CSM_KERNELS_CONVERT_INL_H_
#else
#define CSM_KERNELS_CONVERT_INL_H_
#endif

#include "kernels/load-inl.h"

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

using DI = hn::RebindToSigned<DF>;  // magnitudes below 2^31 compare the same signed

HWY_INLINE VF Narrow(float, VF v) { return v; }

HWY_INLINE VU16 Narrow(BF16, VF v) {
  const DI di;
  const auto bits = hn::BitCast(di, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(di, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(di, 0x7FFF)));
  const auto quiet = hn::Or(bits, hn::Set(di, 0x00400000));
  const auto is_nan = hn::Gt(hn::And(bits, hn::Set(di, 0x7FFFFFFF)), hn::Set(di, 0x7F800000));
  const auto wide = hn::BitCast(DU(), hn::IfThenElse(is_nan, quiet, rounded));
  return hn::DemoteTo(DU16(), hn::BitCast(di, hn::ShiftRight<16>(wide)));
}

HWY_INLINE VU16 Narrow(F16, VF v) {
#if CSM_NATIVE_F16
  const hn::Rebind<hwy::float16_t, DF> df16;
  return hn::BitCast(DU16(), hn::DemoteTo(df16, v));
#else
  const DF df;
  const DI di;
  const auto bits = hn::BitCast(di, v);
  const auto magnitude = hn::And(bits, hn::Set(di, 0x7FFFFFFF));
  const auto sign =
      hn::And(hn::BitCast(di, hn::ShiftRight<16>(hn::BitCast(DU(), bits))), hn::Set(di, 0x8000));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(di, 1));
  const auto normal = hn::ShiftRight<13>(
      hn::Add(hn::Sub(magnitude, hn::Set(di, 0x38000000)), hn::Add(odd, hn::Set(di, 0xFFF))));
  const auto subnormal =
      hn::Sub(hn::BitCast(di, hn::Add(hn::BitCast(df, magnitude), hn::Set(df, 0.5f))),
              hn::Set(di, 0x3F000000));
  auto half = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x38800000)), subnormal, normal);
  half = hn::IfThenElse(hn::Lt(magnitude, hn::Set(di, 0x477FF000)), half, hn::Set(di, 0x7C00));
  const auto is_nan = hn::Gt(magnitude, hn::Set(di, 0x7F800000));
  half = hn::IfThenElse(is_nan, hn::Set(di, 0x7E00), half);
  return hn::DemoteTo(DU16(), hn::Or(half, sign));
#endif
}

template <class From, class To>
void ConvertRange(const From* from, To* to, size_t n) {
  const auto store = [](auto v, To* p) HWY_ATTR {
    if constexpr (sizeof(To) == 4) {
      hn::StoreU(v, DF(), p);
    } else {
      hn::StoreU(v, DU16(), reinterpret_cast<uint16_t*>(p));
    }
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(Narrow(To{}, LoadF32(from + i)), to + i);
  if (i == n) return;
  To last[kLanes];
  store(Narrow(To{}, LoadF32(from + i, n - i)), last);
  std::memcpy(to + i, last, (n - i) * sizeof(To));
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#endif  // CSM_KERNELS_CONVERT_INL_H_

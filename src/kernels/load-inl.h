// Whole and partial vectors of f32 from and to memory of any DType and any alignment. Partial loads
// fill with zeros and touch no byte beyond the last element, which may end a mapped file.
#if defined(CSM_KERNELS_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CSM_KERNELS_LOAD_INL_H_
#undef CSM_KERNELS_LOAD_INL_H_
#else
#define CSM_KERNELS_LOAD_INL_H_
#endif

#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/half.h"

// Highway's MaskedLoad on targets without masked instructions reads the whole vector.
#undef CSM_NATIVE_F16
#undef CSM_MASKED_F32
#undef CSM_MASKED_U16
#define CSM_MASKED_F32 (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 || HWY_TARGET == HWY_SVE_256)
#define CSM_MASKED_U16 (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_SVE_256)

// Conversions from and to f16 are instructions.
#define CSM_NATIVE_F16 (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 || HWY_ARCH_ARM_A64)

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DU = hn::RebindToUnsigned<DF>;
using DU16 = hn::Rebind<uint16_t, DF>;  // as many lanes as DF
using VF = hn::Vec<DF>;
using VU16 = hn::Vec<DU16>;
constexpr size_t kLanes = hn::MaxLanes(DF());

// A vector in an array or a struct.
#if HWY_TARGET == HWY_SVE_256
using VFElement = VF __attribute__((arm_sve_vector_bits(256)));
#else
using VFElement = VF;
#endif

template <class D>
HWY_INLINE hn::Vec<D> LoadCopy(D d, const void* from, size_t n) {
  HWY_ALIGN hn::TFromD<D> lanes[hn::MaxLanes(D())] = {};
  std::memcpy(lanes, from, n * sizeof(lanes[0]));
  return hn::Load(d, lanes);
}

// ---- Widening

HWY_INLINE VF Widen(BF16, VU16 bits) {
  const DU du;
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(du, bits)));
}

HWY_INLINE VF Widen(F16, VU16 bits) {
#if CSM_NATIVE_F16
  const hn::Rebind<hwy::float16_t, DF> df16;
  return hn::PromoteTo(DF(), hn::BitCast(df16, bits));
#else  // Highway's own fallback takes infinity and NaN for numbers; this is ToF32(F16)
  const DF df;
  const DU du;
  const auto wide = hn::PromoteTo(du, bits);
  const auto magnitude = hn::And(wide, hn::Set(du, 0x7FFFu));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(wide, magnitude));
  const auto shifted = hn::ShiftLeft<13>(magnitude);
  const auto finite = hn::BitCast(du, hn::Mul(hn::BitCast(df, shifted), hn::Set(df, 0x1p112f)));
  const auto special = hn::Or(shifted, hn::Set(du, 0x7F800000u));
  const auto is_finite = hn::Lt(hn::BitCast(hn::RebindToSigned<DF>(), magnitude),
                                hn::Set(hn::RebindToSigned<DF>(), 0x7C00));
  const auto value = hn::IfThenElse(hn::RebindMask(du, is_finite), finite, special);
  return hn::BitCast(df, hn::Or(value, sign));
#endif
}

// ---- Loads of kLanes elements, or of the first n < kLanes

HWY_INLINE VF LoadF32(const float* p) { return hn::LoadU(DF(), p); }

template <class Half>
HWY_INLINE VF LoadF32(const Half* p) {
  return Widen(Half{}, hn::LoadU(DU16(), reinterpret_cast<const uint16_t*>(p)));
}

HWY_INLINE VF LoadF32(const float* p, size_t n) {
#if CSM_MASKED_F32
  return hn::MaskedLoad(hn::FirstN(DF(), n), DF(), p);
#else
  return LoadCopy(DF(), p, n);
#endif
}

template <class Half>
HWY_INLINE VF LoadF32(const Half* p, size_t n) {
#if CSM_MASKED_U16
  const DU16 d;
  return Widen(Half{}, hn::MaskedLoad(hn::FirstN(d, n), d, reinterpret_cast<const uint16_t*>(p)));
#else
  return Widen(Half{}, LoadCopy(DU16(), p, n));
#endif
}

// ---- Stores of the first n < kLanes

HWY_INLINE void StoreN(VF v, float* p, size_t n) {
#if CSM_MASKED_F32
  hn::BlendedStore(v, hn::FirstN(DF(), n), DF(), p);
#else
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, DF(), lanes);
  std::memcpy(p, lanes, n * sizeof(float));
#endif
}

// ---- Sums

// Lane r of the result is the sum of the lanes of v_r, always in one order: lanes two apart, then
// neighbours, then blocks of four lanes from the outside in. Sixteen such sums (AVX-512) cost 52
// instructions this way; Highway's SumOfLanes, one by one, about 128.
HWY_INLINE void SumLanes4(VF v0, VF v1, VF v2, VF v3, float* HWY_RESTRICT sums) {
#if HWY_TARGET == HWY_SCALAR
  sums[0] = hn::GetLane(v0);
  sums[1] = hn::GetLane(v1);
  sums[2] = hn::GetLane(v2);
  sums[3] = hn::GetLane(v3);
#else
  const DF df;
  const hn::Repartition<uint64_t, DF> dd;
  const VF v01 = hn::Add(hn::InterleaveLower(df, v0, v1), hn::InterleaveUpper(df, v0, v1));
  const VF v23 = hn::Add(hn::InterleaveLower(df, v2, v3), hn::InterleaveUpper(df, v2, v3));
  const auto w01 = hn::BitCast(dd, v01);
  const auto w23 = hn::BitCast(dd, v23);
  const VF blocks = hn::Add(hn::BitCast(df, hn::InterleaveLower(dd, w01, w23)),
                            hn::BitCast(df, hn::InterleaveUpper(dd, w01, w23)));
#if HWY_MAX_BYTES == 64
  const hn::Half<DF> dh;
  const auto halves = hn::Add(hn::LowerHalf(dh, blocks), hn::UpperHalf(dh, blocks));
  const hn::Half<decltype(dh)> dq;
  hn::StoreU(hn::Add(hn::LowerHalf(dq, halves), hn::UpperHalf(dq, halves)), dq, sums);
#elif HWY_MAX_BYTES == 32
  const hn::Half<DF> dh;
  hn::StoreU(hn::Add(hn::LowerHalf(dh, blocks), hn::UpperHalf(dh, blocks)), dh, sums);
#else
  hn::StoreU(blocks, df, sums);
#endif
#endif
}

HWY_INLINE float SumLanes(VF v) {
  float sums[4];
  SumLanes4(v, v, v, v, sums);
  return sums[0];
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#endif  // CSM_KERNELS_LOAD_INL_H_

// The two 16-bit float formats as types of their own, and their scalar conversions: the
// specification of what the vector code in load-inl.h and convert.cc does.
#ifndef CSM_KERNELS_HALF_H_
#define CSM_KERNELS_HALF_H_

#include <bit>
#include <cstdint>

namespace csm::kernels {

struct F16 {
  uint16_t bits;  ///< IEEE 754 binary16
};

struct BF16 {
  uint16_t bits;  ///< the upper half of an IEEE 754 binary32
};

inline float ToF32(float x) { return x; }

inline float ToF32(BF16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

inline float ToF32(F16 x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16;
  const uint32_t magnitude = x.bits & 0x7FFFu;
  if (magnitude >= 0x7C00u) {  // infinity and NaN keep their mantissa under the larger exponent
    return std::bit_cast<float>(sign | 0x7F800000u | ((magnitude & 0x3FFu) << 13));
  }
  // The exponent's bias is 15 in one format and 127 in the other. A power of two makes good the
  // difference, and turns a subnormal half into a normal float, exactly.
  constexpr float kRebias = 0x1p112f;
  const float value = std::bit_cast<float>(magnitude << 13) * kRebias;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

/// Rounds to nearest, ties to even; NaN stays NaN.
inline BF16 ToBF16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
    return {static_cast<uint16_t>((bits >> 16) | 0x0040u)};  // quiet, so truncation leaves a NaN
  }
  return {static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16)};
}

/// Rounds to nearest, ties to even; overflow becomes infinity, NaN stays NaN.
inline F16 ToF16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (magnitude > 0x7F800000u) {
    half = 0x7E00u;
  } else if (magnitude >= 0x477FF000u) {  // 65520 and above round to 2^16, which f16 lacks
    half = 0x7C00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: subnormal in f16
    // Adding 0.5 makes the float unit round at 2^-24, the step of f16's subnormals.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return {static_cast<uint16_t>(sign | half)};
}

}  // namespace csm::kernels

#endif  // CSM_KERNELS_HALF_H_

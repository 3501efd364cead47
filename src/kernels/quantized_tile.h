// Single weights and scales of a packed tile (packed.h), for what does not walk it in vectors.
#ifndef CSM_KERNELS_QUANTIZED_TILE_H_
#define CSM_KERNELS_QUANTIZED_TILE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/half.h"
#include "kernels/packed.h"

namespace csm::kernels {

/// Where four columns of row `row` are: `group` counts them as packed.h says.
inline size_t GroupOffset(size_t row, size_t group) { return 64 + group * 64 + row * 4; }

/// Of block `half` (0, 1) of row `row` (0 to 15).
inline float TileScale(const std::byte* tile, size_t row, size_t half) {
  F16 scale;
  std::memcpy(&scale, tile + half * 32 + row * 2, sizeof scale);
  return ToF32(scale);
}

/// The integer of column `col` (0 to 31) there.
inline int32_t TileWeight(const std::byte* tile, DType dtype, size_t row, size_t half, size_t col) {
  const size_t group = col / 4 + (dtype == DType::kQ8_0 ? half * 8 : 0);
  const auto byte = std::to_integer<unsigned>(tile[GroupOffset(row, group) + col % 4]);
  if (dtype == DType::kQ8_0) return static_cast<int32_t>(byte) - 128;
  return kQ4Values[byte >> (4 * half) & 15U];
}

}  // namespace csm::kernels

#endif  // CSM_KERNELS_QUANTIZED_TILE_H_

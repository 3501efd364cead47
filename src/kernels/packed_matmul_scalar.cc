#include <cmath>

#include "kernels/half.h"
#include "kernels/packed_store.h"

namespace csm::kernels {
namespace {

int32_t WeightAt(const std::byte* tile, DType dtype, size_t row, size_t half, size_t col) {
  const size_t group = col / 4 + (dtype == DType::kQ8_0 ? half * 8 : 0);
  const auto byte = std::to_integer<unsigned>(tile[64 + group * 64 + row * 4 + col % 4]);
  if (dtype == DType::kQ8_0) return static_cast<int32_t>(byte) - 128;
  return kQ4Values[byte >> (4 * half) & 15U];
}

float ScaleAt(const std::byte* tile, size_t row, size_t half) {
  F16 scale;
  __builtin_memcpy(&scale, tile + half * 32 + row * 2, sizeof scale);
  return ToF32(scale);
}

}  // namespace

void RunPackedScalar(const PackedTask& task) {
  const size_t num_tiles = task.x.num_tiles;
  for (size_t strip = 0; strip < NumStrips(task.num_outputs); ++strip) {
    const std::byte* tiles = task.strips + strip * num_tiles * TileBytes(task.dtype);
    for (size_t r = 0; r < task.x.num_rows; ++r) {
      const int8_t* q = task.x.q + r * num_tiles * kTileCols;
      const float* scales = task.x.scales + r * num_tiles * 2;
      float sums[kStripRows] = {};
      for (size_t b = 0; b < 2 * num_tiles; ++b) {
        const std::byte* tile = tiles + b / 2 * TileBytes(task.dtype);
        for (size_t o = 0; o < kStripRows; ++o) {
          int32_t dot = 0;
          for (size_t i = 0; i < kBlock; ++i) {
            dot += WeightAt(tile, task.dtype, o, b % 2, i) * q[b * kBlock + i];
          }
          sums[o] = std::fma(static_cast<float>(dot), ScaleAt(tile, o, b % 2) * scales[b], sums[o]);
        }
      }
      StoreStrip(task, r, strip, sums);
    }
  }
}

}  // namespace csm::kernels

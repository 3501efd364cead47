#include <cmath>

#include "kernels/quantized_tile.h"
#include "kernels/strip_store.h"

namespace csm::kernels {
void RunQuantizedScalar(const QuantizedTask& task) {
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
            dot += TileWeight(tile, task.dtype, o, b % 2, i) * q[b * kBlock + i];
          }
          sums[o] =
              std::fma(static_cast<float>(dot), TileScale(tile, o, b % 2) * scales[b], sums[o]);
        }
      }
      StoreStrip(task, r, strip, sums);
    }
  }
}

}  // namespace csm::kernels

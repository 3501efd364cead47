#include "kernels/packed.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "kernels/half.h"
#include "kernels/quantized_tile.h"

namespace csm::kernels {
namespace {

// Interleaves the rows: unit u of row r goes to place u * 16 + r. A unit is a weight, or as many as
// a kernel wants side by side.
template <typename Unit>
void Interleave(const std::byte* rows, size_t row_bytes, size_t num_rows, size_t num_units,
                std::byte* strip) {
  // A cache line of each row at a time: the lines written stay in the first-level cache.
  constexpr size_t kPiece = 64 / sizeof(Unit);
  for (size_t first = 0; first < num_units; first += kPiece) {
    const size_t count = std::min(kPiece, num_units - first);
    std::byte* to = strip + first * kStripRows * sizeof(Unit);
    for (size_t r = 0; r < num_rows; ++r) {
      const std::byte* from = rows + r * row_bytes + first * sizeof(Unit);
      for (size_t u = 0; u < count; ++u) {
        std::memcpy(to + (u * kStripRows + r) * sizeof(Unit), from + u * sizeof(Unit),
                    sizeof(Unit));
      }
    }
  }
}

void PackPairs(const std::byte* rows, size_t row_bytes, size_t num_rows, size_t cols,
               std::byte* strip) {
  Interleave<uint32_t>(rows, row_bytes, num_rows, cols / 2, strip);
  if (cols % 2 == 0) return;
  std::byte* last = strip + cols / 2 * kStripRows * 4;
  std::memset(last, 0, kStripRows * 4);
  for (size_t r = 0; r < num_rows; ++r) {
    std::memcpy(last + r * 4, rows + r * row_bytes + (cols - 1) * 2, 2);
  }
}

// Four columns of a block: bytes, or nibbles as bytes of 0 to 15.
uint32_t Q8Group(const std::byte* block, size_t group) {
  uint32_t columns;
  std::memcpy(&columns, block + 2 + group * 4, 4);
  return columns ^ 0x80808080U;
}
uint32_t Q4Group(const std::byte* block, size_t group) {
  uint32_t columns;
  std::memcpy(&columns, block + 2 + group % 4 * 4, 4);
  return (group < 4 ? columns : columns >> 4) & 0x0F0F0F0FU;
}

// One row's part of a tile; `second` is null if there is no second block.
void PackBlocks(const std::byte* first, const std::byte* second, DType dtype, size_t row,
                std::byte* tile) {
  std::memcpy(tile + row * 2, first, 2);
  if (second != nullptr) std::memcpy(tile + 32 + row * 2, second, 2);
  const auto put = [&](size_t group, uint32_t columns) {
    std::memcpy(tile + GroupOffset(row, group), &columns, 4);
  };
  for (size_t group = 0; group < kBlock / 4; ++group) {
    if (dtype == DType::kQ8_0) {
      put(group, Q8Group(first, group));
      if (second != nullptr) put(8 + group, Q8Group(second, group));
    } else {
      put(group, Q4Group(first, group) | (second == nullptr ? 0 : Q4Group(second, group) << 4));
    }
  }
}

void PackTiles(const std::byte* rows, size_t row_bytes, size_t num_rows, size_t cols, DType dtype,
               std::byte* strip) {
  assert(cols % kBlock == 0);
  const size_t num_blocks = cols / kBlock, block = BlockBytes(dtype);
  for (size_t b = 0; b < num_blocks; b += 2, strip += TileBytes(dtype)) {
    const bool is_full = num_rows == kStripRows && b + 1 < num_blocks;
    if (!is_full) std::memset(strip, 0, TileBytes(dtype));
    for (size_t r = 0; r < num_rows; ++r) {
      const std::byte* first = rows + r * row_bytes + b * block;
      PackBlocks(first, b + 1 < num_blocks ? first + block : nullptr, dtype, r, strip);
    }
  }
}

const std::byte* StripOf(const PackedMatrix& matrix, size_t row) {
  return static_cast<const std::byte*>(matrix.data) +
         row / kStripRows * StripBytes(matrix.dtype, matrix.cols);
}

float ValueAt(const std::byte* strip, DType dtype, size_t row, size_t col) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, strip + (col * kStripRows + row) * 4, sizeof value);
    return value;
  }
  if (dtype == DType::kF16) {
    F16 value;
    std::memcpy(&value, strip + (col * kStripRows + row) * 2, sizeof value);
    return ToF32(value);
  }
  if (dtype == DType::kBF16) {
    BF16 value;
    std::memcpy(&value, strip + (col / 2 * kStripRows + row) * 4 + col % 2 * 2, sizeof value);
    return ToF32(value);
  }
  const std::byte* tile = strip + col / kTileCols * TileBytes(dtype);
  const size_t half = col % kTileCols / kBlock;
  return TileScale(tile, row, half) *
         static_cast<float>(TileWeight(tile, dtype, row, half, col % kBlock));
}

}  // namespace

void PackStrip(const std::byte* rows, size_t row_bytes, size_t num_rows, size_t cols, DType dtype,
               std::byte* strip) {
  assert(num_rows <= kStripRows);
  if (IsQuantized(dtype)) return PackTiles(rows, row_bytes, num_rows, cols, dtype, strip);
  if (num_rows < kStripRows) std::memset(strip, 0, StripBytes(dtype, cols));
  if (dtype == DType::kF32) {
    Interleave<uint32_t>(rows, row_bytes, num_rows, cols, strip);
  } else if (dtype == DType::kF16) {
    Interleave<uint16_t>(rows, row_bytes, num_rows, cols, strip);
  } else {
    PackPairs(rows, row_bytes, num_rows, cols, strip);
  }
}

void PackMatrix(const MatrixView& stored, std::byte* to) {
  const size_t row_bytes = StoredRowBytes(stored.dtype, stored.cols);
  const auto* rows = static_cast<const std::byte*>(stored.data);
  for (size_t row = 0; row < stored.rows; row += kStripRows) {
    PackStrip(rows + row * row_bytes, row_bytes, std::min(kStripRows, stored.rows - row),
              stored.cols, stored.dtype, to);
    to += StripBytes(stored.dtype, stored.cols);
  }
}

void UnpackRow(const PackedMatrix& matrix, size_t row, float* out) {
  const std::byte* strip = StripOf(matrix, row);
  for (size_t col = 0; col < matrix.cols; ++col) {
    out[col] = ValueAt(strip, matrix.dtype, row % kStripRows, col);
  }
}

void AddPackedRow(const PackedMatrix& matrix, size_t row, float sign, float* out) {
  assert(matrix.dtype == DType::kF32);
  const std::byte* strip = StripOf(matrix, row);
  for (size_t col = 0; col < matrix.cols; ++col) {
    out[col] += sign * ValueAt(strip, DType::kF32, row % kStripRows, col);
  }
}

}  // namespace csm::kernels

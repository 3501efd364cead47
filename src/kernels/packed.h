// The order in memory that products read their weights in: strips of 16 rows (outputs), each walked
// from end to end, 16 outputs in whole vectors. Rows beyond the matrix are zeros.
//
//   f32, f16   column by column: 16 weights of one column, then of the next
//   bf16       two columns at a time, those of a row side by side: widening takes a shift or a
//              mask, and it is the order of AVX512-BF16's dot product
//   quantized  tiles of 64 columns (two blocks of each row):
//                32 scales (f16):  16 rows of the first block, 16 of the second
//                weights, 4 columns x 16 rows per 64 bytes (column fastest), as bytes q + 128:
//                  Q8_0  16 such groups: 8 of the first block, 8 of the second   (1,088 bytes)
//                  Q4    8 groups, the first block's nibbles low, the second's high (576 bytes)
//              Columns beyond the matrix have the scale 0.
#ifndef CSM_KERNELS_PACKED_H_
#define CSM_KERNELS_PACKED_H_

#include <cstddef>
#include <cstdint>

#include "kernels/blocks.h"
#include "kernels/matrix_view.h"

namespace csm::kernels {

inline constexpr size_t kStripRows = 16;  ///< outputs
inline constexpr size_t kTileCols = 64;   ///< inputs

// Always inline: files for one instruction set each use these (strip_store.h says why).
[[gnu::always_inline]] constexpr size_t TileBytes(DType dtype) {
  return dtype == DType::kQ8_0 ? 64 + 1024 : 64 + 512;
}
constexpr size_t NumTiles(size_t cols) { return (cols + kTileCols - 1) / kTileCols; }
[[gnu::always_inline]] constexpr size_t NumStrips(size_t rows) {
  return (rows + kStripRows - 1) / kStripRows;
}
constexpr size_t StripBytes(DType dtype, size_t cols) {
  if (IsQuantized(dtype)) return NumTiles(cols) * TileBytes(dtype);
  // 16-bit columns go in pairs, so that every strip starts on a cache line.
  return kStripRows * (dtype == DType::kF32 ? cols * 4 : (cols + 1) / 2 * 4);
}
/// Bytes of a packed matrix.
constexpr size_t PackedBytes(DType dtype, size_t rows, size_t cols) {
  return NumStrips(rows) * StripBytes(dtype, cols);
}
/// Bytes that a product reads of it.
constexpr size_t BytesOf(const PackedMatrix& matrix) {
  return PackedBytes(matrix.dtype, matrix.rows, matrix.cols);
}

/// Packs `num_rows` <= kStripRows stored rows, `row_bytes` apart, of `cols` (if quantized a
/// multiple of kBlock) weights into a strip. The rows may be unaligned.
void PackStrip(const std::byte* rows, size_t row_bytes, size_t num_rows, size_t cols, DType dtype,
               std::byte* strip);

/// Packs all of a stored matrix.
void PackMatrix(const MatrixView& stored, std::byte* to);

/// out[i] = row `row` of a packed matrix as f32.
void UnpackRow(const PackedMatrix& matrix, size_t row, float* out);

/// out[i] += sign * row `row` of a packed f32 matrix (codebooks: both multiplied by and looked up).
void AddPackedRow(const PackedMatrix& matrix, size_t row, float sign, float* out);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_PACKED_H_

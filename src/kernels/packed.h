// Quantized weights: GGUF's block types as they are stored, and the order in memory that the
// kernels read.
//
// Stored, a row is a sequence of blocks of 32 weights with one f16 scale (ggml's layouts):
//   Q8_0  34 bytes: scale, 32 int8;                       weight = scale * q
//   Q4    18 bytes: scale, 16 bytes of nibbles (IQ4_NL);  weight = scale * kQ4Values[nibble];
//         byte i holds weight i in its low nibble and weight i + 16 in its high one
//
// Packed, a matrix is strips of 16 rows, and a strip is tiles of 64 columns (two blocks of each
// row), so that a kernel walks a strip from end to end and finds 16 rows' scales, then 16 rows'
// weights, in whole vectors:
//   32 scales (f16):  16 rows of the first block, 16 of the second
//   weights, 4 columns x 16 rows per 64 bytes (column fastest), as unsigned bytes q + 128:
//     Q8_0  16 such groups: 8 of the first block, 8 of the second          (1,088 bytes a tile)
//     Q4    8 groups, the first block's nibbles low, the second's high       (576 bytes a tile)
// Rows and columns beyond the matrix have the scale 0.
#ifndef CSM_KERNELS_PACKED_H_
#define CSM_KERNELS_PACKED_H_

#include <cstddef>
#include <cstdint>

#include "kernels/matrix_view.h"

namespace csm::kernels {

inline constexpr size_t kBlock = 32;      ///< weights that share a scale
inline constexpr size_t kStripRows = 16;  ///< outputs
inline constexpr size_t kTileCols = 64;   ///< inputs

/// What the nibbles of Q4 stand for: ggml's table for IQ4_NL, denser around 0 as weights are.
inline constexpr int8_t kQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

/// Bytes of a stored block.
constexpr size_t BlockBytes(DType dtype) { return dtype == DType::kQ8_0 ? 34 : 18; }

// Always inline: files for one instruction set each use these (packed_store.h says why).
[[gnu::always_inline]] constexpr size_t TileBytes(DType dtype) {
  return dtype == DType::kQ8_0 ? 64 + 1024 : 64 + 512;
}
constexpr size_t NumTiles(size_t cols) { return (cols + kTileCols - 1) / kTileCols; }
[[gnu::always_inline]] constexpr size_t NumStrips(size_t rows) {
  return (rows + kStripRows - 1) / kStripRows;
}
constexpr size_t StripBytes(DType dtype, size_t cols) { return NumTiles(cols) * TileBytes(dtype); }
/// Bytes of a packed matrix.
constexpr size_t PackedBytes(DType dtype, size_t rows, size_t cols) {
  return NumStrips(rows) * StripBytes(dtype, cols);
}

/// Bytes of a row as a file stores it; of a quantized one `cols` is a multiple of kBlock.
constexpr size_t StoredRowBytes(DType dtype, size_t cols) {
  return IsQuantized(dtype) ? cols / kBlock * BlockBytes(dtype) : cols * SizeOf(dtype);
}

/// Bytes that a product reads of a matrix.
constexpr size_t BytesOf(const MatrixView& matrix) {
  return IsQuantized(matrix.dtype) ? PackedBytes(matrix.dtype, matrix.rows, matrix.cols)
                                   : matrix.rows * StoredRowBytes(matrix.dtype, matrix.cols);
}

/// Quantizes n weights (a multiple of kBlock) into stored blocks. Q8_0: scale = largest |x| / 127,
/// to nearest. Q4: of several scales the one with the least squared error (packed.cc).
void QuantizeBlocks(const float* x, size_t n, DType dtype, std::byte* blocks);

/// The other way.
void DequantizeBlocks(const std::byte* blocks, size_t n, DType dtype, float* x);

/// Packs `num_rows` <= kStripRows stored rows, `row_bytes` apart, of `cols` (a multiple of kBlock)
/// weights into a strip.
void PackStrip(const std::byte* rows, size_t row_bytes, size_t num_rows, size_t cols, DType dtype,
               std::byte* strip);

/// out[i] = row `row` of a packed matrix as f32.
void UnpackRow(const MatrixView& matrix, size_t row, float* out);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_PACKED_H_

// Quantized weights as files store them: GGUF's block types.
//
// A row is a sequence of blocks of 32 weights with one f16 scale (ggml's layouts):
//   Q8_0  34 bytes: scale, 32 int8;                       weight = scale * q
//   Q4    18 bytes: scale, 16 bytes of nibbles (IQ4_NL);  weight = scale * kQ4Values[nibble];
//         byte i holds weight i in its low nibble and weight i + 16 in its high one
#ifndef CSM_KERNELS_BLOCKS_H_
#define CSM_KERNELS_BLOCKS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/matrix_view.h"

namespace csm::kernels {

inline constexpr size_t kBlock = 32;  ///< weights that share a scale

/// What the nibbles of Q4 stand for: ggml's table for IQ4_NL, denser around 0 as weights are.
inline constexpr int8_t kQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

/// Bytes of a block.
constexpr size_t BlockBytes(DType dtype) { return dtype == DType::kQ8_0 ? 34 : 18; }

/// Bytes of a row as a file stores it; of a quantized one `cols` is a multiple of kBlock.
constexpr size_t StoredRowBytes(DType dtype, size_t cols) {
  return IsQuantized(dtype) ? cols / kBlock * BlockBytes(dtype) : cols * SizeOf(dtype);
}

/// Quantizes n weights (a multiple of kBlock) into blocks. Q8_0: scale = largest |x| / 127, to
/// nearest. Q4: of several scales the one with the least squared error (blocks.cc).
void QuantizeBlocks(const float* x, size_t n, DType dtype, std::byte* blocks);

/// The other way.
void DequantizeBlocks(const std::byte* blocks, size_t n, DType dtype, float* x);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_BLOCKS_H_

#include "checkpoint/tensor_values.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/blocks.h"
#include "kernels/elementwise.h"

namespace csm::checkpoint {

namespace {

// Converted by way of the stack: tasks of a thread pool call this, and they may not fail to get
// memory. Whole blocks.
constexpr size_t kPieceElements = 1024;

std::byte* At(void* to, DType type, size_t element) {
  return static_cast<std::byte*>(to) + element * kernels::SizeOf(type);
}

void Dequantize(const TensorView& tensor, size_t begin, size_t count, void* to, DType to_type) {
  const std::byte* blocks = tensor.bytes.data() + kernels::StoredRowBytes(tensor.dtype, begin);
  if (to_type == DType::kF32) {
    return kernels::DequantizeBlocks(blocks, count, tensor.dtype, static_cast<float*>(to));
  }
  float values[kPieceElements];
  for (size_t i = 0; i < count; i += kPieceElements) {
    const size_t n = std::min(kPieceElements, count - i);
    kernels::DequantizeBlocks(blocks + kernels::StoredRowBytes(tensor.dtype, i), n, tensor.dtype,
                              values);
    kernels::Convert(values, DType::kF32, At(to, to_type, i), to_type, n);
  }
}

}  // namespace

size_t NumElements(const TensorView& tensor) {
  if (!kernels::IsQuantized(tensor.dtype)) {
    return tensor.bytes.size() / kernels::SizeOf(tensor.dtype);
  }
  return tensor.bytes.size() / kernels::BlockBytes(tensor.dtype) * kernels::kBlock;
}

DType MatrixType(DType stored, DType wanted, size_t cols) {
  if (!kernels::IsQuantized(wanted) || cols % kernels::kBlock == 0) return wanted;
  return stored == DType::kF32 ? DType::kF16 : stored;
}

void ConvertElements(const TensorView& tensor, size_t begin, size_t count, void* to,
                     DType to_type) {
  if (count == 0) return;
  if (kernels::IsQuantized(tensor.dtype)) return Dequantize(tensor, begin, count, to, to_type);
  const size_t element = kernels::SizeOf(tensor.dtype);
  const std::byte* from = tensor.bytes.data() + begin * element;
  if (to_type == tensor.dtype) {
    std::memcpy(to, from, count * element);
  } else if (reinterpret_cast<uintptr_t>(from) % element == 0) {
    kernels::Convert(from, tensor.dtype, to, to_type, count);
  } else {
    uint32_t aligned[kPieceElements];
    for (size_t i = 0; i < count; i += kPieceElements) {
      const size_t n = std::min(kPieceElements, count - i);
      std::memcpy(aligned, from + i * element, n * element);
      kernels::Convert(aligned, tensor.dtype, At(to, to_type, i), to_type, n);
    }
  }
}

}  // namespace csm::checkpoint

#include "checkpoint/tensor_values.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/blocks.h"
#include "kernels/elementwise.h"

namespace csm::checkpoint {

namespace {

void Dequantize(const TensorView& tensor, size_t begin, size_t count, void* to, DType to_type) {
  const std::byte* blocks = tensor.bytes.data() + kernels::StoredRowBytes(tensor.dtype, begin);
  if (to_type == DType::kF32) {
    return kernels::DequantizeBlocks(blocks, count, tensor.dtype, static_cast<float*>(to));
  }
  std::vector<float> values(count);
  kernels::DequantizeBlocks(blocks, count, tensor.dtype, values.data());
  kernels::Convert(values.data(), DType::kF32, to, to_type, count);
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
    std::vector<uint32_t> aligned((count * element + 3) / 4);
    std::memcpy(aligned.data(), from, count * element);
    kernels::Convert(aligned.data(), tensor.dtype, to, to_type, count);
  }
}

}  // namespace csm::checkpoint

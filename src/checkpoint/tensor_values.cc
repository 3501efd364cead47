#include "checkpoint/tensor_values.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/elementwise.h"

namespace csm::checkpoint {

size_t NumElements(const TensorView& tensor) {
  return tensor.bytes.size() / kernels::SizeOf(tensor.dtype);
}

void ConvertElements(const TensorView& tensor, size_t begin, size_t count, void* to,
                     DType to_type) {
  if (count == 0) return;
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

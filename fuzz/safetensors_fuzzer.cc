// Any bytes as a safetensors file: refused with a FormatError, or tensors that lie inside the bytes
// and have as many as their shape says.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "checkpoint/safetensors.h"
#include "kernels/matrix_view.h"

namespace {

void Check(const csm::checkpoint::TensorView& tensor, std::span<const std::byte> file) {
  if (tensor.bytes.data() < file.data() ||
      tensor.bytes.data() + tensor.bytes.size() > file.data() + file.size()) {
    std::abort();
  }
  if (!tensor.other_dtype.empty()) return;
  uint64_t bytes = csm::kernels::SizeOf(tensor.dtype);
  for (const int64_t dimension : tensor.shape) bytes *= static_cast<uint64_t>(dimension);
  if (bytes != tensor.bytes.size()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  try {
    for (const auto& tensor : csm::checkpoint::ParseSafetensors(file, "input")) {
      Check(tensor, file);
    }
  } catch (const csm::FormatError&) {
  }
  return 0;
}

// Any bytes as a GGUF file: read, or refused with an Error that names the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "checkpoint/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto content = csm::checkpoint::ParseGguf(std::as_bytes(std::span(data, size)), "a.gguf");
    unsigned sum = 0;  // every byte that a tensor claims must be there
    for (const auto& tensor : content.tensors) {
      for (const std::byte byte : tensor.bytes) sum += std::to_integer<unsigned>(byte);
    }
    volatile unsigned sink = sum;
    (void)sink;
  } catch (const csm::Error& error) {
    if (std::string_view(error.what()).find("a.gguf") == std::string_view::npos) std::abort();
  }
  return 0;
}

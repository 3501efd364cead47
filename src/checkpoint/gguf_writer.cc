#include <cassert>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_types.h"

namespace csm::checkpoint {
namespace {

constexpr uint32_t kTensorAlignment =
    64;  // a cache line: tensors can be read where they are mapped

uint64_t Aligned(uint64_t offset) {
  return (offset + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

template <typename T>
void Append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void AppendString(std::string& bytes, std::string_view text) {
  Append(bytes, uint64_t{text.size()});
  bytes += text;
}

std::string Header(const std::vector<std::pair<std::string, std::string>>& strings,
                   std::span<const GgufTensor> tensors) {
  std::string header(kGgufMagic);
  Append(header, kGgufVersion);
  Append(header, uint64_t{tensors.size()});
  Append(header, uint64_t{strings.size() + 1});
  AppendString(header, kGgufAlignmentKey);
  Append(header, kGgufUint32);
  Append(header, kTensorAlignment);
  for (const auto& [key, value] : strings) {
    AppendString(header, key);
    Append(header, kGgufString);
    AppendString(header, value);
  }
  uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    AppendString(header, tensor.name);
    Append(header, static_cast<uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) {
      Append(header, static_cast<uint64_t>(*dim));
    }
    Append(header, GgufTypeOf(tensor.dtype).number);
    Append(header, offset);
    offset = Aligned(offset + tensor.num_bytes);
  }
  header.resize(Aligned(header.size()), '\0');
  return header;
}

}  // namespace

void WriteGguf(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, std::string>>& strings,
               std::span<const GgufTensor> tensors) {
  const std::string header = Header(strings, tensors);
  AtomicFile file(path);
  std::ofstream out(file.path(), std::ios::binary);
  const auto check = [&] {
    if (!out) Fail<FileError>("cannot write {}: {}", path.string(), std::strerror(errno));
  };
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  check();
  for (const GgufTensor& tensor : tensors) {
    uint64_t written = 0;
    tensor.write([&](std::span<const std::byte> bytes) {
      out.write(reinterpret_cast<const char*>(bytes.data()),
                static_cast<std::streamsize>(bytes.size()));
      check();
      written += bytes.size();
    });
    assert(written == tensor.num_bytes);
    const std::string padding(Aligned(written) - written, '\0');
    out.write(padding.data(), static_cast<std::streamsize>(padding.size()));
  }
  out.close();
  check();
  file.Commit();
}

}  // namespace csm::checkpoint

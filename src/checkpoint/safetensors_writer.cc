#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_values.h"
#include "kernels/matrix_view.h"

namespace csm::checkpoint {
namespace {

// Bytes read from the source at a time.
constexpr size_t kChunkBytes = size_t{4} << 20;

bool IsWeight(const TensorView& tensor) { return tensor.other_dtype.empty(); }

std::string_view TypeName(const TensorToWrite& item) {
  if (!IsWeight(*item.tensor)) return item.tensor->other_dtype;
  switch (item.dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    default:
      return "BF16";
  }
}

uint64_t BytesToWrite(const TensorToWrite& item) {
  if (!IsWeight(*item.tensor)) return item.tensor->bytes.size();
  uint64_t num_bytes = kernels::SizeOf(item.dtype);
  for (const int64_t size : item.tensor->shape) num_bytes *= static_cast<uint64_t>(size);
  return num_bytes;
}

// Built as text: an ordered JSON object looks every new key up by walking.
std::string Header(std::span<const TensorToWrite> tensors, const SafetensorsMetadata& metadata) {
  std::string header = R"({"__metadata__":)" + Json(metadata).dump();
  uint64_t offset = 0;
  for (const TensorToWrite& item : tensors) {
    const uint64_t end = offset + BytesToWrite(item);
    header += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                          Json(item.tensor->name).dump(), TypeName(item),
                          fmt::join(item.tensor->shape, ","), offset, end);
    offset = end;
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the data starts aligned to 8 bytes
  return header;
}

void WriteData(std::ofstream& out, const TensorToWrite& item, std::vector<float>& buffer,
               const TensorStore* store, const std::function<void(size_t num_bytes)>& on_written) {
  const TensorView& tensor = store == nullptr ? *item.tensor : *store->Find(item.tensor->name);
  const bool convert = IsWeight(tensor) && item.dtype != tensor.dtype;
  const size_t element = IsWeight(tensor) ? kernels::SizeOf(tensor.dtype) : 1;
  const size_t n = tensor.bytes.size() / element;
  const size_t step = kChunkBytes / element;
  for (size_t begin = 0; begin < n && out; begin += step) {
    const size_t count = std::min(step, n - begin);
    TensorView part = tensor;
    part.bytes = tensor.bytes.subspan(begin * element, count * element);
    const char* bytes = reinterpret_cast<const char*>(part.bytes.data());
    size_t num_bytes = part.bytes.size();
    if (convert) {
      buffer.resize(count);
      ConvertElements(part, 0, count, buffer.data(), item.dtype);
      bytes = reinterpret_cast<const char*>(buffer.data());
      num_bytes = count * kernels::SizeOf(item.dtype);
    }
    out.write(bytes, static_cast<std::streamsize>(num_bytes));
    if (store != nullptr) store->Release(part);
    on_written(num_bytes);
  }
}

}  // namespace

void WriteSafetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                      const TensorStore* store, const SafetensorsMetadata& metadata,
                      const ByteProgress& progress) {
  const std::string header = Header(tensors, metadata);
  AtomicFile file(path);
  std::ofstream out(file.path(), std::ios::binary);
  char length[8];
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(uint64_t{header.size()} >> (8 * i));
  out.write(length, sizeof length);
  out.write(header.data(), static_cast<std::streamsize>(header.size()));
  int64_t done = 0, total = 0;
  for (const TensorToWrite& item : tensors) total += static_cast<int64_t>(BytesToWrite(item));
  const auto on_written = [&](size_t num_bytes) {
    done += static_cast<int64_t>(num_bytes);
    if (progress) progress(done, total);
  };
  std::vector<float> buffer;
  for (const TensorToWrite& item : tensors) WriteData(out, item, buffer, store, on_written);
  out.close();
  if (!out) Fail<FileError>("cannot write {}: {}", path.string(), std::strerror(errno));
  file.Commit();
}

}  // namespace csm::checkpoint

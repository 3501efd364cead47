#include "checkpoint/safetensors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "checkpoint/safetensors_header.h"

namespace csm::checkpoint {
namespace {

struct StoredType {
  std::string_view name;
  uint64_t bits;
  std::optional<DType> dtype;
};

// Every type of the format (safetensors 0.6).
constexpr StoredType kStoredTypes[] = {
    {"F32", 32, DType::kF32},
    {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBF16},
    {"F64", 64, {}},
    {"I64", 64, {}},
    {"U64", 64, {}},
    {"C64", 64, {}},
    {"I32", 32, {}},
    {"U32", 32, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"I8", 8, {}},
    {"U8", 8, {}},
    {"BOOL", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"F4", 4, {}},
};

const StoredType& FindType(const HeaderEntry& entry, std::string_view source) {
  for (const StoredType& type : kStoredTypes) {
    if (type.name == entry.dtype) return type;
  }
  Fail<FormatError>("{}: tensor {} has the unknown type {:.40}", source, QuoteName(entry.name),
                    entry.dtype);
}

uint64_t HeaderLength(std::span<const std::byte> file, std::string_view source) {
  if (file.size() < 8) {
    Fail<FormatError>("{} is {} bytes long, too short for a safetensors file", source, file.size());
  }
  constexpr std::string_view kLfsPointer = "version https://git-lfs";
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.starts_with(kLfsPointer)) {
    Fail<FormatError>(
        "{} is a pointer of git-lfs, expected the file itself (\"git lfs pull\" fetches it)",
        source);
  }
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | std::to_integer<uint64_t>(file[i]);
  if (length > kMaxHeaderBytes) {
    Fail<FormatError>(
        "{} is not a safetensors file: its header would be {} bytes long, the limit is {}", source,
        length, kMaxHeaderBytes);
  }
  if (length > file.size() - 8) {
    Fail<FormatError>("{} is truncated: its header is {} bytes long, the whole file {}", source,
                      length, file.size());
  }
  return length;
}

// Bytes that the shape and type ask for; none if that overflows or is no whole number of bytes.
std::optional<uint64_t> BytesOf(const HeaderEntry& entry, const StoredType& type) {
  uint64_t bits = type.bits;
  for (const uint64_t dimension : entry.shape) {
    if (dimension > INT64_MAX || __builtin_mul_overflow(bits, dimension, &bits)) return {};
  }
  if (bits % 8 != 0) return {};
  return bits / 8;
}

TensorView MakeView(const HeaderEntry& entry, std::span<const std::byte> data,
                    std::string_view source) {
  const StoredType& type = FindType(entry, source);
  const std::optional<uint64_t> num_bytes = BytesOf(entry, type);
  if (!num_bytes || *num_bytes != entry.end - entry.begin) {
    Fail<FormatError>("{}: tensor {} of type {} and shape [{}] has {} bytes of data", source,
                      QuoteName(entry.name), entry.dtype, fmt::join(entry.shape, ", "),
                      entry.end - entry.begin);
  }
  TensorView view;
  view.name = entry.name;
  view.dtype = type.dtype.value_or(DType::kF32);
  view.shape.assign(entry.shape.begin(), entry.shape.end());
  view.bytes = data.subspan(entry.begin, entry.end - entry.begin);
  if (!type.dtype) view.other_dtype = type.name;
  return view;
}

// Tensors must tile the data: no hole, no overlap, nothing after the last.
void CheckLayout(const std::vector<HeaderEntry>& entries, uint64_t data_size,
                 std::string_view source) {
  std::vector<const HeaderEntry*> by_offset(entries.size());
  std::transform(entries.begin(), entries.end(), by_offset.begin(),
                 [](const HeaderEntry& entry) { return &entry; });
  std::sort(by_offset.begin(), by_offset.end(), [](const HeaderEntry* a, const HeaderEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t position = 0;
  for (const HeaderEntry* entry : by_offset) {
    if (entry->end < entry->begin || entry->begin != position) {
      Fail<FormatError>("{}: data_offsets of tensor {} are [{}, {}], expected them to start at {}",
                        source, QuoteName(entry->name), entry->begin, entry->end, position);
    }
    if (entry->end > data_size) {
      Fail<FormatError>("{} is truncated: tensor {} ends at byte {} of {} bytes of data", source,
                        QuoteName(entry->name), entry->end, data_size);
    }
    position = entry->end;
  }
  if (position != data_size) {
    Fail<FormatError>("{} has {} bytes of data, its tensors {}", source, data_size, position);
  }
}

}  // namespace

std::vector<TensorView> ParseSafetensors(std::span<const std::byte> file, std::string_view source,
                                         SafetensorsMetadata* metadata) {
  const uint64_t header_length = HeaderLength(file, source);
  const std::string_view json(reinterpret_cast<const char*>(file.data()) + 8, header_length);
  const std::vector<HeaderEntry> entries = ParseSafetensorsHeader(json, source, metadata);
  const std::span<const std::byte> data = file.subspan(8 + header_length);
  CheckLayout(entries, data.size(), source);
  std::vector<TensorView> tensors;
  tensors.reserve(entries.size());
  for (const HeaderEntry& entry : entries) tensors.push_back(MakeView(entry, data, source));
  SortByName(tensors, source);
  return tensors;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : MappedTensors(path) {
  Set(ParseSafetensors(file().bytes(), path.string()));
}

}  // namespace csm::checkpoint

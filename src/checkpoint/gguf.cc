#include "checkpoint/gguf.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.h"
#include "checkpoint/gguf_types.h"
#include "checkpoint/safetensors_header.h"
#include "kernels/packed.h"

namespace csm::checkpoint {
namespace {

// Reads little-endian values one after the other, never beyond the end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string_view source)
      : bytes_(bytes), source_(source) {}

  std::span<const std::byte> Take(uint64_t count) {
    if (count > bytes_.size() - position_) {
      Fail<FormatError>("{} is truncated: {} bytes are expected at byte {} of {}", source_, count,
                        position_, bytes_.size());
    }
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  template <typename T>
  T Value() {
    T value;
    std::memcpy(&value, Take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view String() {
    const auto length = Value<uint64_t>();
    const auto bytes = Take(length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

 private:
  std::span<const std::byte> bytes_;
  std::string_view source_;
  size_t position_ = 0;
};

// Bytes of a metadata value of fixed size; 0: a string, an array or unknown.
uint64_t SizeOfValue(uint32_t type) {
  constexpr uint64_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(kSizes) ? kSizes[type] : 0;
}

class Parser {
 public:
  Parser(std::span<const std::byte> file, std::string_view source)
      : file_(file), source_(source), cursor_(file, source) {}

  GgufContent Parse() {
    if (!BeginsAsGguf(cursor_.Take(kGgufMagic.size()))) {
      Fail<FormatError>("{} is not a GGUF file: it does not begin with \"GGUF\"", source_);
    }
    const auto version = cursor_.Value<uint32_t>();
    if (version != kGgufVersion) {
      Fail<FormatError>("{} is of GGUF version {}, expected {}", source_, version, kGgufVersion);
    }
    const auto num_tensors = cursor_.Value<uint64_t>();
    const auto num_values = cursor_.Value<uint64_t>();
    for (uint64_t i = 0; i < num_values; ++i) ReadValue();
    for (uint64_t i = 0; i < num_tensors; ++i) ReadTensor();
    PlaceTensors();
    return std::move(content_);
  }

 private:
  void ReadValue() {
    const std::string_view key = cursor_.String();
    if (!keys_.insert(key).second) {
      Fail<FormatError>("{} has the key {} twice", source_, QuoteName(key));
    }
    const auto type = cursor_.Value<uint32_t>();
    if (type == kGgufString) {
      content_.strings[key] = cursor_.String();
    } else if (type == kGgufArray) {
      SkipArray(key);
    } else {
      const auto value = cursor_.Take(CheckedSize(key, type));
      if (key == kGgufAlignmentKey && type == kGgufUint32) {
        std::memcpy(&alignment_, value.data(), sizeof alignment_);
      }
    }
  }

  uint64_t CheckedSize(std::string_view key, uint32_t type) const {
    const uint64_t size = SizeOfValue(type);
    if (size == 0) {
      Fail<FormatError>("{}: the value of {} has the unknown type {}", source_, QuoteName(key),
                        type);
    }
    return size;
  }

  void SkipArray(std::string_view key) {
    const auto type = cursor_.Value<uint32_t>();
    const auto count = cursor_.Value<uint64_t>();
    if (type != kGgufString) {
      const uint64_t size = CheckedSize(key, type);
      if (count > cursor_.remaining() / size) {
        Fail<FormatError>("{} is truncated: the array {} has {} values", source_, QuoteName(key),
                          count);
      }
      cursor_.Take(count * size);
      return;
    }
    for (uint64_t i = 0; i < count; ++i) cursor_.String();
  }

  void ReadTensor() {
    TensorView tensor;
    tensor.name = std::string(cursor_.String());
    const auto num_dims = cursor_.Value<uint32_t>();
    constexpr uint32_t kMaxDims = 8;
    if (num_dims > kMaxDims) {
      Fail<FormatError>("{}: tensor {} has {} dimensions, expected at most {}", source_,
                        QuoteName(tensor.name), num_dims, kMaxDims);
    }
    for (uint32_t i = 0; i < num_dims; ++i) {
      const auto dim = cursor_.Value<uint64_t>();
      if (dim > INT64_MAX) {
        Fail<FormatError>("{}: tensor {} has the dimension {}", source_, QuoteName(tensor.name),
                          dim);
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(dim));
    }
    const auto type = cursor_.Value<uint32_t>();
    offsets_.push_back(cursor_.Value<uint64_t>());
    if (const GgufType* known = FindGgufType(type)) {
      tensor.dtype = known->dtype;
    } else {
      tensor.other_dtype = fmt::format("ggml type {}", type);
    }
    content_.tensors.push_back(std::move(tensor));
  }

  uint64_t BytesOf(const TensorView& tensor) const {
    const bool is_quantized = kernels::IsQuantized(tensor.dtype);
    const auto cols = tensor.shape.empty() ? 1 : static_cast<uint64_t>(tensor.shape.back());
    if (is_quantized && cols % kernels::kBlock != 0) {
      Fail<FormatError>("{}: rows of tensor {} have {} weights, expected a multiple of {}", source_,
                        QuoteName(tensor.name), cols, kernels::kBlock);
    }
    uint64_t bytes =
        is_quantized ? kernels::BlockBytes(tensor.dtype) : kernels::SizeOf(tensor.dtype);
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      auto dim = static_cast<uint64_t>(tensor.shape[i]);
      if (is_quantized && i + 1 == tensor.shape.size()) dim /= kernels::kBlock;
      if (__builtin_mul_overflow(bytes, dim, &bytes)) {
        Fail<FormatError>("{}: tensor {} of shape [{}] is too large", source_,
                          QuoteName(tensor.name), fmt::join(tensor.shape, ", "));
      }
    }
    return bytes;
  }

  void PlaceTensors() {
    if (alignment_ == 0 || alignment_ > 4096 || (alignment_ & (alignment_ - 1)) != 0) {
      Fail<FormatError>("{}: {} is {}, expected a power of two up to 4096", source_,
                        kGgufAlignmentKey, alignment_);
    }
    const uint64_t begin = (cursor_.position() + alignment_ - 1) / alignment_ * alignment_;
    const uint64_t size = begin < file_.size() ? file_.size() - begin : 0;
    for (size_t i = 0; i < offsets_.size(); ++i) {
      TensorView& tensor = content_.tensors[i];
      const uint64_t bytes = BytesOf(tensor);  // of an unknown type: that its shape is sane
      if (!tensor.other_dtype.empty()) continue;
      if (offsets_[i] > size || bytes > size - offsets_[i]) {
        Fail<FormatError>("{} is truncated: tensor {} has {} bytes from byte {} of {}", source_,
                          QuoteName(tensor.name), bytes, offsets_[i], size);
      }
      if (offsets_[i] % alignment_ != 0) {
        Fail<FormatError>("{}: tensor {} begins at byte {}, expected a multiple of {}", source_,
                          QuoteName(tensor.name), offsets_[i], alignment_);
      }
      tensor.bytes = file_.subspan(begin + offsets_[i], bytes);
    }
    CheckApart();
    SortByName(content_.tensors, source_);
  }

  // No byte is of two tensors.
  void CheckApart() const {
    std::vector<const TensorView*> placed;
    for (const TensorView& tensor : content_.tensors) {
      if (!tensor.bytes.empty()) placed.push_back(&tensor);
    }
    std::sort(placed.begin(), placed.end(), [](const TensorView* a, const TensorView* b) {
      return a->bytes.data() < b->bytes.data();
    });
    for (size_t i = 1; i < placed.size(); ++i) {
      const auto& before = *placed[i - 1];
      if (before.bytes.data() + before.bytes.size() <= placed[i]->bytes.data()) continue;
      Fail<FormatError>("{}: the tensors {} and {} overlap", source_, QuoteName(before.name),
                        QuoteName(placed[i]->name));
    }
  }

  std::span<const std::byte> file_;
  std::string_view source_;
  Cursor cursor_;
  uint32_t alignment_ = 32;  // the format's default
  std::vector<uint64_t> offsets_;
  std::set<std::string_view> keys_;
  GgufContent content_;
};

}  // namespace

GgufContent ParseGguf(std::span<const std::byte> file, std::string_view source) {
  return Parser(file, source).Parse();
}

GgufFile::GgufFile(const std::filesystem::path& path) : MappedTensors(path) {
  GgufContent content = ParseGguf(file().bytes(), path.string());
  const auto layout = content.strings.find(kGgufHeadLayoutKey);
  if (layout == content.strings.end() || layout->second != kGgufHeadLayout) {
    Fail<FormatError>("{} has no {} of \"{}\", expected a file made by \"csm quantize\"",
                      path.string(), kGgufHeadLayoutKey, kGgufHeadLayout);
  }
  Set(std::move(content.tensors));
}

std::optional<std::string> ReadGgufString(const std::filesystem::path& path, std::string_view key) {
  const MappedFile file(path);
  const GgufContent content = ParseGguf(file.bytes(), path.string());
  const auto found = content.strings.find(key);
  if (found == content.strings.end()) return std::nullopt;
  return std::string(found->second);
}

}  // namespace csm::checkpoint

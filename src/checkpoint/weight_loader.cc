#include "checkpoint/weight_loader.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

#include "base/error.h"
#include "checkpoint/tensor_values.h"
#include "kernels/elementwise.h"

namespace csm::checkpoint {
namespace {

// A cache line; also the widest vector register.
constexpr std::align_val_t kAlignment{64};

// Elements converted at a time: the pages of the source leave memory as the copy grows, so the
// peak is the copy plus 16 MB and not plus the largest tensor (csm-1b: 1 GB of text embedding).
constexpr size_t kChunkElements = size_t{4} << 20;

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete(bytes, kAlignment); }
};
using AlignedBytes = std::unique_ptr<std::byte, AlignedDelete>;

AlignedBytes Allocate(size_t num_bytes) {
  return AlignedBytes(
      static_cast<std::byte*>(::operator new(std::max<size_t>(num_bytes, 1), kAlignment)));
}

bool IsAligned(const void* data, DType dtype) {
  return reinterpret_cast<uintptr_t>(data) % kernels::SizeOf(dtype) == 0;
}

void ConvertAll(const TensorStore& store, const TensorView& tensor, std::byte* to, DType to_type) {
  const size_t n = NumElements(tensor);
  for (size_t begin = 0; begin < n; begin += kChunkElements) {
    const size_t count = std::min(kChunkElements, n - begin);
    ConvertElements(tensor, begin, count, to + begin * kernels::SizeOf(to_type), to_type);
    TensorView done = tensor;
    done.bytes = tensor.bytes.first((begin + count) * kernels::SizeOf(tensor.dtype));
    store.Release(done);
  }
}

// to[r, c] = from[c, r] for elements of type T; `from` may be unaligned.
template <typename T>
void Transpose(const std::byte* from, T* to, size_t rows, size_t cols) {
  constexpr size_t kBlock = 16;  // 16 x 16 elements of both sides stay in L1
  for (size_t r0 = 0; r0 < rows; r0 += kBlock) {
    for (size_t c0 = 0; c0 < cols; c0 += kBlock) {
      for (size_t c = c0; c < std::min(c0 + kBlock, cols); ++c) {
        for (size_t r = r0; r < std::min(r0 + kBlock, rows); ++r) {
          std::memcpy(&to[r * cols + c], from + (c * rows + r) * sizeof(T), sizeof(T));
        }
      }
    }
  }
}

void Transpose(const std::byte* from, DType dtype, std::byte* to, size_t rows, size_t cols) {
  if (kernels::SizeOf(dtype) == 4) {
    Transpose(from, reinterpret_cast<uint32_t*>(to), rows, cols);
  } else {
    Transpose(from, reinterpret_cast<uint16_t*>(to), rows, cols);
  }
}

}  // namespace

struct WeightLoader::Memory {
  std::shared_ptr<const TensorStore> store;
  std::vector<AlignedBytes> buffers;

  std::byte* New(size_t num_bytes) {
    buffers.push_back(Allocate(num_bytes));
    return buffers.back().get();
  }
};

WeightLoader::WeightLoader(std::shared_ptr<const TensorStore> store, std::optional<DType> dtype)
    : memory_(std::make_shared<Memory>()), dtype_(dtype) {
  memory_->store = std::move(store);
}

WeightLoader::~WeightLoader() = default;

const TensorView& WeightLoader::Get(std::string_view name, std::span<const int64_t> shape) const {
  const std::string source = memory_->store->path().string();
  const TensorView* tensor = memory_->store->Find(name);
  if (tensor == nullptr) {
    Fail<FormatError>("{} has no tensor {}, expected one of shape [{}]", source, name,
                      fmt::join(shape, ", "));
  }
  if (!std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(), shape.end())) {
    Fail<FormatError>("{}: tensor {} has shape [{}], expected [{}]", source, name,
                      fmt::join(tensor->shape, ", "), fmt::join(shape, ", "));
  }
  if (!tensor->other_dtype.empty()) {
    Fail<FormatError>("{}: tensor {} has type {}, expected F32, F16 or BF16", source, name,
                      tensor->other_dtype);
  }
  return *tensor;
}

kernels::MatrixView WeightLoader::Matrix(std::string_view name, int64_t rows, int64_t cols) {
  const TensorView& tensor = Get(name, std::array{rows, cols});
  const DType dtype = dtype_.value_or(tensor.dtype);
  const auto num_rows = static_cast<size_t>(rows);
  const auto num_cols = static_cast<size_t>(cols);
  if (dtype == tensor.dtype && IsAligned(tensor.bytes.data(), dtype)) {
    return {tensor.bytes.data(), dtype, num_rows, num_cols};
  }
  const std::byte*& copy = converted_[tensor.name];  // tied embeddings are asked for twice
  if (copy == nullptr) {
    std::byte* to = memory_->New(NumElements(tensor) * kernels::SizeOf(dtype));
    ConvertAll(*memory_->store, tensor, to, dtype);
    copy = to;
  }
  return {copy, dtype, num_rows, num_cols};
}

std::vector<kernels::MatrixView> WeightLoader::TransposedMatrices(std::string_view name,
                                                                  int64_t count, int64_t rows,
                                                                  int64_t cols) {
  const TensorView& tensor = Get(name, std::array{count, cols, rows});
  const DType dtype = dtype_.value_or(tensor.dtype);
  const auto num_rows = static_cast<size_t>(rows);
  const auto num_cols = static_cast<size_t>(cols);
  const size_t elements = num_rows * num_cols;
  const size_t stored_bytes = elements * kernels::SizeOf(tensor.dtype);
  const AlignedBytes transposed = Allocate(dtype == tensor.dtype ? 0 : stored_bytes);
  std::vector<kernels::MatrixView> matrices;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    TensorView part = tensor;
    part.bytes = tensor.bytes.subspan(i * stored_bytes, stored_bytes);
    std::byte* matrix = memory_->New(elements * kernels::SizeOf(dtype));
    if (dtype == tensor.dtype) {
      Transpose(part.bytes.data(), dtype, matrix, num_rows, num_cols);
    } else {
      Transpose(part.bytes.data(), tensor.dtype, transposed.get(), num_rows, num_cols);
      kernels::Convert(transposed.get(), tensor.dtype, matrix, dtype, elements);
    }
    memory_->store->Release(part);
    matrices.push_back({matrix, dtype, num_rows, num_cols});
  }
  return matrices;
}

std::span<const float> WeightLoader::Vector(std::string_view name, int64_t n) {
  const TensorView& tensor = Get(name, std::array{n});
  std::byte* copy = memory_->New(NumElements(tensor) * sizeof(float));
  ConvertAll(*memory_->store, tensor, copy, DType::kF32);
  return {reinterpret_cast<const float*>(copy), NumElements(tensor)};
}

std::vector<float> WeightLoader::Floats(std::string_view name, std::span<const int64_t> shape) {
  const TensorView& tensor = Get(name, shape);
  std::vector<float> values(NumElements(tensor));
  ConvertAll(*memory_->store, tensor, reinterpret_cast<std::byte*>(values.data()), DType::kF32);
  return values;
}

kernels::MatrixView WeightLoader::Adopt(std::vector<float> data, int64_t rows, int64_t cols) {
  assert(data.size() == static_cast<size_t>(rows) * static_cast<size_t>(cols));
  const DType dtype = dtype_.value_or(DType::kF32);
  std::byte* copy = memory_->New(data.size() * kernels::SizeOf(dtype));
  if (dtype == DType::kF32) {
    std::memcpy(copy, data.data(), data.size() * sizeof(float));
  } else {
    kernels::Convert(data.data(), DType::kF32, copy, dtype, data.size());
  }
  return {copy, dtype, static_cast<size_t>(rows), static_cast<size_t>(cols)};
}

std::shared_ptr<const void> WeightLoader::memory() const { return memory_; }

}  // namespace csm::checkpoint

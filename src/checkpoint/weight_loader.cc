#include "checkpoint/weight_loader.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

#include "base/error.h"
#include "base/pages.h"
#include "checkpoint/tensor_values.h"
#include "kernels/elementwise.h"
#include "kernels/packed.h"

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
    UseHugePages({buffers.back().get(), num_bytes});
    return buffers.back().get();
  }
};

WeightLoader::WeightLoader(std::shared_ptr<const TensorStore> store, std::optional<DType> dtype,
                           ThreadPool* pool)
    : memory_(std::make_shared<Memory>()), dtype_(dtype), pool_(pool) {
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

const TensorView& WeightLoader::GetFloats(std::string_view name,
                                          std::span<const int64_t> shape) const {
  const TensorView& tensor = Get(name, shape);
  if (kernels::IsQuantized(tensor.dtype)) {
    Fail<FormatError>("{}: tensor {} is quantized, expected F32, F16 or BF16",
                      memory_->store->path().string(), name);
  }
  return tensor;
}

DType WeightLoader::TypeFor(DType stored, size_t cols) const {
  return MatrixType(stored, dtype_.value_or(stored), cols);
}

void WeightLoader::PackRows(const TensorView& stored, DType dtype, size_t cols, std::byte* to) {
  const size_t rows = NumElements(stored) / cols;
  const size_t row_bytes = kernels::StoredRowBytes(dtype, cols);
  const bool is_packed_only = stored.dtype == dtype;
  // All that the tasks need: they may not fail to get memory.
  if (!is_packed_only) {
    rows_f32_.resize(rows * cols);
    quantized_.resize(rows * row_bytes);
    ConvertElements(stored, 0, rows * cols, rows_f32_.data(), DType::kF32);
  }
  const std::byte* blocks = is_packed_only ? stored.bytes.data() : quantized_.data();
  const auto pack_strip = [&](size_t strip) {
    const size_t first = strip * kernels::kStripRows;
    const size_t count = std::min(kernels::kStripRows, rows - first);
    if (!is_packed_only) {
      kernels::QuantizeBlocks(rows_f32_.data() + first * cols, count * cols, dtype,
                              quantized_.data() + first * row_bytes);
    }
    kernels::PackStrip(blocks + first * row_bytes, row_bytes, count, cols, dtype,
                       to + strip * kernels::StripBytes(dtype, cols));
  };
  const size_t num_strips = kernels::NumStrips(rows);
  if (pool_ != nullptr) {
    pool_->ParallelFor(num_strips, pack_strip);
  } else {
    for (size_t strip = 0; strip < num_strips; ++strip) pack_strip(strip);
  }
}

kernels::MatrixView WeightLoader::Load(const TensorView& stored, size_t rows, size_t cols,
                                       bool is_releasable) {
  const DType dtype = TypeFor(stored.dtype, cols);
  const bool pack = kernels::IsQuantized(dtype);
  if (!pack && dtype == stored.dtype && IsAligned(stored.bytes.data(), dtype)) {
    return {stored.bytes.data(), dtype, rows, cols};
  }
  const kernels::MatrixView result{memory_->New(kernels::BytesOf({nullptr, dtype, rows, cols})),
                                   dtype, rows, cols};
  auto* to = static_cast<std::byte*>(const_cast<void*>(result.data));
  const size_t stored_row_bytes = kernels::StoredRowBytes(stored.dtype, cols);
  const size_t step =
      std::max<size_t>(kChunkElements / (cols * kernels::kStripRows), 1) * kernels::kStripRows;
  for (size_t begin = 0; begin < rows; begin += step) {
    const size_t count = std::min(step, rows - begin);
    TensorView part = stored;
    part.bytes = stored.bytes.subspan(begin * stored_row_bytes, count * stored_row_bytes);
    if (pack) {
      PackRows(part, dtype, cols,
               to + begin / kernels::kStripRows * kernels::StripBytes(dtype, cols));
    } else {
      ConvertElements(part, 0, count * cols, to + begin * kernels::StoredRowBytes(dtype, cols),
                      dtype);
    }
    if (!is_releasable) continue;
    part.bytes = stored.bytes.first((begin + count) * stored_row_bytes);
    memory_->store->Release(part);
  }
  return result;
}

kernels::MatrixView WeightLoader::Matrix(std::string_view name, int64_t rows, int64_t cols) {
  const TensorView& tensor = Get(name, std::array{rows, cols});
  kernels::MatrixView& matrix = loaded_[tensor.name];  // tied embeddings are asked for twice
  if (matrix.data != nullptr) return matrix;
  matrix = Load(tensor, static_cast<size_t>(rows), static_cast<size_t>(cols),
                /*is_releasable=*/true);
  return matrix;
}

std::vector<kernels::MatrixView> WeightLoader::Heads(std::string_view name, int64_t count,
                                                     int64_t rows, int64_t cols) {
  const bool is_transposed = memory_->store->HasTransposedHeads();
  const TensorView& tensor = is_transposed ? Get(name, std::array{count, rows, cols})
                                           : Get(name, std::array{count, cols, rows});
  const auto num_rows = static_cast<size_t>(rows), num_cols = static_cast<size_t>(cols);
  const size_t bytes = num_rows * kernels::StoredRowBytes(tensor.dtype, num_cols);
  AlignedBytes transposed;
  std::vector<kernels::MatrixView> matrices;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    TensorView part = tensor;
    part.bytes = tensor.bytes.subspan(i * bytes, bytes);
    if (is_transposed) {
      matrices.push_back(Load(part, num_rows, num_cols, /*is_releasable=*/true));
      continue;
    }
    // Kept if it is the matrix itself, written over by the next head if that is a copy of it.
    const bool is_kept = TypeFor(tensor.dtype, num_cols) == tensor.dtype;
    if (!is_kept && !transposed) transposed = Allocate(bytes);
    std::byte* to = is_kept ? memory_->New(bytes) : transposed.get();
    Transpose(part.bytes.data(), tensor.dtype, to, num_rows, num_cols);
    memory_->store->Release(part);
    part.bytes = {to, bytes};
    matrices.push_back(Load(part, num_rows, num_cols, /*is_releasable=*/false));
  }
  return matrices;
}

std::span<const float> WeightLoader::Vector(std::string_view name, int64_t n) {
  const TensorView& tensor = GetFloats(name, std::array{n});
  std::byte* copy = memory_->New(NumElements(tensor) * sizeof(float));
  ConvertAll(*memory_->store, tensor, copy, DType::kF32);
  return {reinterpret_cast<const float*>(copy), NumElements(tensor)};
}

std::vector<float> WeightLoader::Floats(std::string_view name, std::span<const int64_t> shape) {
  const TensorView& tensor = GetFloats(name, shape);
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

#include "checkpoint/weight_loader.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

#include "base/error.h"
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

// Large buffers on pages of 2 MB: with 4 KB pages a core that streams through them waits for the
// next translation every 64 lines.
AlignedBytes AllocateWeights(size_t num_bytes) {
  AlignedBytes bytes = Allocate(num_bytes);
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const auto begin = reinterpret_cast<uintptr_t>(bytes.get());
  const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = (begin + num_bytes) / kHugePage * kHugePage;
  // A hint: without it the same bytes are read more slowly.
  if (first < last) (void)madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  return bytes;
}

size_t RowBytes(DType dtype, size_t cols) {
  return kernels::IsQuantized(dtype) ? cols / kernels::kBlock * kernels::BlockBytes(dtype)
                                     : cols * kernels::SizeOf(dtype);
}

// One stored row as f32; `from` may be unaligned.
void LoadRow(const std::byte* from, DType dtype, size_t cols, float* to) {
  if (kernels::IsQuantized(dtype)) return kernels::DequantizeBlocks(from, cols, dtype, to);
  const TensorView row{.dtype = dtype, .bytes = {from, RowBytes(dtype, cols)}};
  ConvertElements(row, 0, cols, to, DType::kF32);
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
    buffers.push_back(AllocateWeights(num_bytes));
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
  const DType dtype = dtype_.value_or(stored);
  if (!kernels::IsQuantized(dtype) || cols % kernels::kBlock == 0) return dtype;
  return stored == DType::kF32 ? DType::kF16 : stored;
}

void WeightLoader::PackRows(const std::byte* from, DType stored, DType dtype, size_t rows,
                            size_t cols, std::byte* to) {
  const size_t block_row_bytes = RowBytes(dtype, cols), stored_row_bytes = RowBytes(stored, cols);
  // All that the tasks need: they may not fail to get memory.
  const std::byte* blocks = from;
  if (stored != dtype) {
    rows_f32_.resize(rows * cols);
    quantized_.resize(rows * block_row_bytes);
    for (size_t r = 0; r < rows; ++r) {
      LoadRow(from + r * stored_row_bytes, stored, cols, rows_f32_.data() + r * cols);
    }
    blocks = quantized_.data();
  }
  const auto pack_strip = [&](size_t strip) {
    const size_t first = strip * kernels::kStripRows;
    const size_t count = std::min(kernels::kStripRows, rows - first);
    if (stored != dtype) {
      kernels::QuantizeBlocks(rows_f32_.data() + first * cols, count * cols, dtype,
                              quantized_.data() + first * block_row_bytes);
    }
    kernels::PackStrip(blocks + first * block_row_bytes, block_row_bytes, count, cols, dtype,
                       to + strip * kernels::StripBytes(dtype, cols));
  };
  const size_t num_strips = kernels::NumStrips(rows);
  if (pool_ != nullptr) {
    pool_->ParallelFor(num_strips, pack_strip);
  } else {
    for (size_t strip = 0; strip < num_strips; ++strip) pack_strip(strip);
  }
}

kernels::MatrixView WeightLoader::Load(const std::byte* from, DType stored, size_t rows,
                                       size_t cols, const TensorView* releasable) {
  const DType dtype = TypeFor(stored, cols);
  const bool pack = kernels::IsQuantized(dtype);
  if (!pack && dtype == stored && IsAligned(from, dtype)) return {from, dtype, rows, cols};
  const size_t bytes =
      pack ? kernels::PackedBytes(dtype, rows, cols) : rows * RowBytes(dtype, cols);
  std::byte* to = memory_->New(bytes);
  const size_t stored_row_bytes = RowBytes(stored, cols);
  const size_t step =
      std::max<size_t>(kChunkElements / (cols * kernels::kStripRows), 1) * kernels::kStripRows;
  std::vector<float> row(cols);
  for (size_t begin = 0; begin < rows; begin += step) {
    const size_t count = std::min(step, rows - begin);
    const std::byte* source = from + begin * stored_row_bytes;
    if (pack) {
      PackRows(source, stored, dtype, count, cols,
               to + begin / kernels::kStripRows * kernels::StripBytes(dtype, cols));
    } else {
      for (size_t r = 0; r < count; ++r) {
        LoadRow(source + r * stored_row_bytes, stored, cols, row.data());
        kernels::Convert(row.data(), DType::kF32, to + (begin + r) * RowBytes(dtype, cols), dtype,
                         cols);
      }
    }
    if (releasable == nullptr) continue;
    TensorView done = *releasable;
    done.bytes = {from, (begin + count) * stored_row_bytes};
    memory_->store->Release(done);
  }
  return {to, dtype, rows, cols};
}

kernels::MatrixView WeightLoader::Matrix(std::string_view name, int64_t rows, int64_t cols) {
  const TensorView& tensor = Get(name, std::array{rows, cols});
  kernels::MatrixView& matrix = loaded_[tensor.name];  // tied embeddings are asked for twice
  if (matrix.data != nullptr) return matrix;
  matrix = Load(tensor.bytes.data(), tensor.dtype, static_cast<size_t>(rows),
                static_cast<size_t>(cols), &tensor);
  return matrix;
}

std::vector<kernels::MatrixView> WeightLoader::Heads(std::string_view name, int64_t count,
                                                     int64_t rows, int64_t cols) {
  const bool is_transposed = memory_->store->HasTransposedHeads();
  const TensorView& tensor = is_transposed ? Get(name, std::array{count, rows, cols})
                                           : Get(name, std::array{count, cols, rows});
  const auto num_rows = static_cast<size_t>(rows), num_cols = static_cast<size_t>(cols);
  const size_t bytes = num_rows * RowBytes(tensor.dtype, num_cols);
  AlignedBytes transposed;
  std::vector<kernels::MatrixView> matrices;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    TensorView part = tensor;
    part.bytes = tensor.bytes.subspan(i * bytes, bytes);
    const std::byte* from = part.bytes.data();
    if (!is_transposed) {
      // Kept if it is the matrix itself, written over by the next head if that is a copy of it.
      const bool is_kept = TypeFor(tensor.dtype, num_cols) == tensor.dtype;
      if (!is_kept && !transposed) transposed = Allocate(bytes);
      std::byte* to = is_kept ? memory_->New(bytes) : transposed.get();
      Transpose(from, tensor.dtype, to, num_rows, num_cols);
      from = to;
    }
    matrices.push_back(
        Load(from, tensor.dtype, num_rows, num_cols, is_transposed ? &tensor : nullptr));
    if (!is_transposed) memory_->store->Release(part);
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

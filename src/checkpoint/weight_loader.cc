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
  if (kernels::IsQuantized(dtype)) return true;  // blocks are read byte by byte
  return reinterpret_cast<uintptr_t>(data) % kernels::SizeOf(dtype) == 0;
}

// Elements [begin, begin + count) as `dtype`; if that is quantized, by way of scratch[at, at +
// count).
void ConvertPiece(const TensorView& tensor, size_t begin, size_t count, DType dtype,
                  std::span<float> scratch, size_t at, std::byte* to) {
  if (!kernels::IsQuantized(dtype)) return ConvertElements(tensor, begin, count, to, dtype);
  float* values = scratch.data() + at;
  ConvertElements(tensor, begin, count, values, DType::kF32);
  kernels::QuantizeBlocks(values, count, dtype, to);
}

// Rows packed at a time: whole strips.
size_t RowsAtATime(size_t cols) {
  const size_t strip_elements = std::max<size_t>(cols * kernels::kStripRows, 1);
  return std::max<size_t>(kChunkElements / strip_elements, 1) * kernels::kStripRows;
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
                           ThreadPool* pool, Precision precision)
    : memory_(std::make_shared<Memory>()), dtype_(dtype), pool_(pool), precision_(precision) {
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

template <typename Task>
void WeightLoader::ForEach(size_t count, const Task& task) {
  if (pool_ != nullptr) return pool_->ParallelFor(count, task);
  for (size_t i = 0; i < count; ++i) task(i);
}

void WeightLoader::ConvertAll(const TensorView& tensor, std::byte* to, DType dtype) {
  constexpr size_t kPieces = 64;  // of a chunk, for the threads; whole blocks
  constexpr size_t kTaskElements = kChunkElements / kPieces;
  const size_t n = NumElements(tensor);
  if (kernels::IsQuantized(dtype)) values_.resize(std::min(n, kChunkElements));
  for (size_t chunk = 0; chunk < n; chunk += kChunkElements) {
    const size_t chunk_end = std::min(chunk + kChunkElements, n);
    ForEach((chunk_end - chunk + kTaskElements - 1) / kTaskElements, [&](size_t i) {
      const size_t begin = chunk + i * kTaskElements;
      const size_t count = std::min(kTaskElements, chunk_end - begin);
      ConvertPiece(tensor, begin, count, dtype, values_, begin - chunk,
                   to + kernels::StoredRowBytes(dtype, begin));
    });
    TensorView done = tensor;
    done.bytes = tensor.bytes.first(kernels::StoredRowBytes(tensor.dtype, chunk_end));
    memory_->store->Release(done);
  }
}

void WeightLoader::PackRows(const TensorView& stored, DType dtype, size_t cols, std::byte* to) {
  const size_t stored_row_bytes = kernels::StoredRowBytes(stored.dtype, cols);
  const size_t row_bytes = kernels::StoredRowBytes(dtype, cols);
  const size_t rows = stored.bytes.size() / std::max<size_t>(stored_row_bytes, 1);
  const bool is_converted = stored.dtype != dtype;
  // All that the tasks need: they may not fail to get memory.
  if (is_converted) converted_.resize(rows * row_bytes);
  if (is_converted && kernels::IsQuantized(dtype)) values_.resize(rows * cols);
  ForEach(kernels::NumStrips(rows), [&](size_t strip) {
    const size_t first = strip * kernels::kStripRows;
    const size_t count = std::min(kernels::kStripRows, rows - first);
    const std::byte* from = stored.bytes.data() + first * stored_row_bytes;
    if (is_converted) {
      std::byte* converted = converted_.data() + first * row_bytes;
      ConvertPiece(stored, first * cols, count * cols, dtype, values_, first * cols, converted);
      from = converted;
    }
    kernels::PackStrip(from, is_converted ? row_bytes : stored_row_bytes, count, cols, dtype,
                       to + strip * kernels::StripBytes(dtype, cols));
  });
}

kernels::PackedMatrix WeightLoader::Pack(const TensorView& stored, DType dtype, size_t rows,
                                         size_t cols, bool is_releasable) {
  std::byte* to = memory_->New(kernels::PackedBytes(dtype, rows, cols));
  const size_t row_bytes = kernels::StoredRowBytes(stored.dtype, cols);
  const size_t step = RowsAtATime(cols);
  for (size_t begin = 0; begin < rows; begin += step) {
    const size_t count = std::min(step, rows - begin);
    TensorView part = stored;
    part.bytes = stored.bytes.subspan(begin * row_bytes, count * row_bytes);
    PackRows(part, dtype, cols,
             to + begin / kernels::kStripRows * kernels::StripBytes(dtype, cols));
    if (!is_releasable) continue;
    part.bytes = stored.bytes.first((begin + count) * row_bytes);
    memory_->store->Release(part);
  }
  return {to, dtype, rows, cols, precision_ == Precision::kFast};
}

kernels::PackedMatrix WeightLoader::Matrix(std::string_view name, int64_t rows, int64_t cols) {
  const TensorView& tensor = Get(name, std::array{rows, cols});
  const auto num_cols = static_cast<size_t>(cols);
  return Pack(tensor, TypeFor(tensor.dtype, num_cols), static_cast<size_t>(rows), num_cols,
              /*is_releasable=*/true);
}

std::optional<WeightLoader::LowRankTerm> WeightLoader::Term(std::string_view name) {
  const LowRank* term = memory_->store->FindTerm(name);
  if (term == nullptr) return std::nullopt;
  std::vector<float> scaled(term->b);
  for (float& value : scaled) value = static_cast<float>(value * term->scale);
  const auto rank = static_cast<size_t>(term->rank);
  return LowRankTerm{Adopt(term->a, rank, static_cast<size_t>(term->inputs)),
                     Adopt(scaled, static_cast<size_t>(term->outputs), rank)};
}

kernels::MatrixView WeightLoader::Table(std::string_view name, int64_t rows, int64_t cols) {
  const TensorView& tensor = Get(name, std::array{rows, cols});
  kernels::MatrixView& table = tables_[tensor.name];
  if (table.data != nullptr) return table;
  const auto num_rows = static_cast<size_t>(rows), num_cols = static_cast<size_t>(cols);
  const DType dtype = TypeFor(tensor.dtype, num_cols);
  table = {tensor.bytes.data(), dtype, num_rows, num_cols};
  if (dtype == tensor.dtype && IsAligned(table.data, dtype)) return table;
  std::byte* to = memory_->New(num_rows * kernels::StoredRowBytes(dtype, num_cols));
  ConvertAll(tensor, to, dtype);
  table.data = to;
  return table;
}

std::vector<kernels::PackedMatrix> WeightLoader::Heads(std::string_view name, int64_t count,
                                                       int64_t rows, int64_t cols) {
  const bool is_transposed = memory_->store->HasTransposedHeads();
  const TensorView& tensor = is_transposed ? Get(name, std::array{count, rows, cols})
                                           : Get(name, std::array{count, cols, rows});
  const auto num_rows = static_cast<size_t>(rows), num_cols = static_cast<size_t>(cols);
  const DType dtype = TypeFor(tensor.dtype, num_cols);
  const size_t bytes = num_rows * kernels::StoredRowBytes(tensor.dtype, num_cols);
  const AlignedBytes transposed = is_transposed ? nullptr : Allocate(bytes);
  std::vector<kernels::PackedMatrix> matrices;
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    TensorView part = tensor;
    part.bytes = tensor.bytes.subspan(i * bytes, bytes);
    if (!is_transposed) {
      Transpose(part.bytes.data(), tensor.dtype, transposed.get(), num_rows, num_cols);
      memory_->store->Release(part);
      part.bytes = {transposed.get(), bytes};
    }
    matrices.push_back(Pack(part, dtype, num_rows, num_cols, is_transposed));
  }
  return matrices;
}

std::span<const float> WeightLoader::Vector(std::string_view name, int64_t n) {
  const TensorView& tensor = GetFloats(name, std::array{n});
  std::byte* copy = memory_->New(NumElements(tensor) * sizeof(float));
  ConvertAll(tensor, copy, DType::kF32);
  return {reinterpret_cast<const float*>(copy), NumElements(tensor)};
}

std::vector<float> WeightLoader::Floats(std::string_view name, std::span<const int64_t> shape) {
  const TensorView& tensor = GetFloats(name, shape);
  std::vector<float> values(NumElements(tensor));
  ConvertAll(tensor, reinterpret_cast<std::byte*>(values.data()), DType::kF32);
  return values;
}

kernels::PackedMatrix WeightLoader::Rearranged(std::string_view name,
                                               std::span<const int64_t> shape, size_t rows,
                                               size_t cols, const RowSources& sources) {
  const TensorView& tensor = GetFloats(name, shape);
  const size_t element = kernels::SizeOf(tensor.dtype);
  const DType dtype = dtype_.value_or(tensor.dtype);
  std::byte* to = memory_->New(kernels::PackedBytes(dtype, rows, cols));
  const size_t step = RowsAtATime(cols);
  rearranged_.resize(std::min(step, rows) * cols * element);
  sources_.resize(std::min(step, rows) * cols);
  for (size_t begin = 0; begin < rows; begin += step) {
    const size_t count = std::min(step, rows - begin);
    ForEach(count, [&](size_t i) {
      const auto row = std::span(sources_).subspan(i * cols, cols);
      sources(begin + i, row);
      std::byte* out = rearranged_.data() + i * cols * element;
      for (const size_t source : row) {
        if (source == kZero) {
          std::memset(out, 0, element);
        } else {
          std::memcpy(out, tensor.bytes.data() + source * element, element);
        }
        out += element;
      }
    });
    TensorView part = tensor;
    part.bytes = std::span(rearranged_).first(count * cols * element);
    PackRows(part, dtype, cols,
             to + begin / kernels::kStripRows * kernels::StripBytes(dtype, cols));
  }
  memory_->store->Release(tensor);
  return {to, dtype, rows, cols};
}

kernels::PackedMatrix WeightLoader::Adopt(std::span<const float> data, size_t rows, size_t cols) {
  assert(data.size() == rows * cols);
  TensorView view;
  view.dtype = DType::kF32;
  view.bytes = std::as_bytes(data);
  return Pack(view, DType::kF32, rows, cols, /*is_releasable=*/false);
}

std::shared_ptr<const void> WeightLoader::memory() const { return memory_; }

}  // namespace csm::checkpoint

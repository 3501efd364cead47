// How a task of a product walks its tiles.
#if defined(CSM_KERNELS_MATMUL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CSM_KERNELS_MATMUL_INL_H_
#undef CSM_KERNELS_MATMUL_INL_H_
#else
#define CSM_KERNELS_MATMUL_INL_H_
#endif

#include <algorithm>

#include "kernels/matmul_task.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

static_assert(kTileRows <= kMaxTileRows && kLanes <= 16);

// Stores an output: y = sum (+ y) (+ bias), in this order.
HWY_INLINE void Store(const MatMulTask& task, size_t row, size_t output, float sum) {
  float& y = task.y[row * task.y_stride + output];
  if (task.accumulate) sum += y;
  if (task.bias != nullptr) sum += task.bias[output];
  y = sum;
}

// Few rows: the weights go straight from memory to registers. Bound: bytes of weights. One core
// gets more of the memory's bandwidth the more places it reads in turn (1, 2, 4, 8 places: 11, 13,
// 15, 17.5 GB/s), and the longer the run at each; prefetch instructions add nothing. So the rows
// are read as up to 8 streams, each a contiguous part of the task's rows.
template <size_t kR, class T>
HWY_NOINLINE void StreamWeights(const MatMulTask& task) {
  constexpr size_t kStreams = 8 * kR <= kTileRows * kTileOutputs ? 8 : 4;
  const T* weight = static_cast<const T*>(task.weight.data);
  const size_t cols = task.weight.cols;
  const size_t outputs = task.weight.rows;
  const size_t length = (outputs + kStreams - 1) / kStreams;  // rows of a stream
  for (size_t o = 0; o < length; ++o) {
    const T* w[kStreams];
    for (size_t c = 0; c < kStreams; ++c) {
      w[c] = weight + std::min(c * length + o, outputs - 1) * cols;  // past the last: not stored
    }
    Sums<kR, kStreams> sums;
    Clear(sums);
    MulAddColumns(task.x.data, task.x.stride, w, cols, sums);
#pragma GCC unroll 8
    for (size_t r = 0; r < kR; ++r) {
      float out[kStreams];
#pragma GCC unroll 8
      for (size_t c = 0; c < kStreams; c += 4) {
        const auto* v = sums.v[r] + c;
        SumLanes4(v[0], v[1], v[2], v[3], out + c);
      }
      for (size_t c = 0; c < kStreams && c * length + o < outputs; ++c) {
        Store(task, r, c * length + o, out[c]);
      }
    }
  }
}

// Many rows: a block of weights is widened once and stays in the second-level cache; a tile of x
// stays in the first while the block's tiles pass by it. Sums of the columns so far wait in
// `carry`. Bound: multiply-adds.
struct Block {
  size_t output, num_outputs;
  size_t begin, num_cols;  // columns
};

// Copies n columns of a row as f32; zeros fill the last vector.
template <class T>
HWY_INLINE void PackRow(const T* from, size_t n, float* HWY_RESTRICT to) {
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::Store(LoadF32(from + i), DF(), to + i);
  if (i < n) hn::Store(LoadF32(from + i, n - i), DF(), to + i);
}

template <class T>
HWY_NOINLINE void PackBlock(const MatMulTask& task, const Block& block) {
  const T* weight = static_cast<const T*>(task.weight.data) + block.begin;
  const size_t num_rows = (block.num_outputs + kTileOutputs - 1) / kTileOutputs * kTileOutputs;
  for (size_t c = 0; c < num_rows; ++c) {  // past the last: computed, not stored
    const size_t output = block.output + std::min(c, block.num_outputs - 1);
    PackRow(weight + output * task.weight.cols, block.num_cols,
            task.scratch->weights + c * kPackedStride);
  }
}

// The block's columns of rows [row, row + num_rows). A vector that straddles two cache lines costs
// two loads, and every tile loads them again: rows that do not start on a line are copied.
HWY_INLINE RowsView TileOfX(const MatMulTask& task, const Block& block, size_t row,
                            size_t num_rows) {
  const float* x = task.x.data + row * task.x.stride + block.begin;
  constexpr size_t kLine = 64;
  if (reinterpret_cast<uintptr_t>(x) % kLine == 0 && task.x.stride * sizeof(float) % kLine == 0) {
    return {x, num_rows, task.x.stride};
  }
  for (size_t r = 0; r < num_rows; ++r) {
    PackRow(x + r * task.x.stride, block.num_cols, task.scratch->x + r * kPackedStride);
  }
  return {task.scratch->x, num_rows, kPackedStride};
}

// The outputs of a tile, `num_outputs` <= kTileOutputs of them.
template <size_t kR>
HWY_INLINE void Finish(const Sums<kR>& sums, const MatMulTask& task, size_t row, size_t output,
                       size_t num_outputs) {
#pragma GCC unroll 8
  for (size_t r = 0; r < kR; ++r) {
    float out[kTileOutputs];
    SumLanes4(sums.v[r][0], sums.v[r][1], sums.v[r][2], sums.v[r][3], out);
    for (size_t c = 0; c < num_outputs; ++c) Store(task, row + r, output + c, out[c]);
  }
}

// The tile `x` of rows from `row` on, times packed weight rows [c, c + kTileOutputs) of the block.
template <size_t kR>
HWY_NOINLINE void PackedTile(const MatMulTask& task, const Block& block, const RowsView& x,
                             size_t row, size_t c, float* HWY_RESTRICT carry) {
  const float* w[kTileOutputs];
  for (size_t k = 0; k < kTileOutputs; ++k) w[k] = task.scratch->weights + (c + k) * kPackedStride;
  Sums<kR> sums;
  if (block.begin == 0) {
    Clear(sums);
  } else {
#pragma GCC unroll 8
    for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 8
      for (size_t k = 0; k < kTileOutputs; ++k) {
        sums.v[r][k] = hn::Load(DF(), carry + (r * kTileOutputs + k) * kLanes);
      }
    }
  }
  MulAddColumns(x.data, x.stride, w, block.num_cols, sums);
  if (block.begin + block.num_cols == task.weight.cols) {
    Finish(sums, task, row, block.output + c, std::min(kTileOutputs, block.num_outputs - c));
    return;
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (size_t k = 0; k < kTileOutputs; ++k) {
      hn::Store(sums.v[r][k], DF(), carry + (r * kTileOutputs + k) * kLanes);
    }
  }
}

template <size_t kR = kTileRows>
HWY_INLINE void PackedTileOf(const MatMulTask& task, const Block& block, const RowsView& x,
                             size_t row, size_t c, float* HWY_RESTRICT carry) {
  if (x.num_rows == kR) return PackedTile<kR>(task, block, x, row, c, carry);
  if constexpr (kR > 1) PackedTileOf<kR - 1>(task, block, x, row, c, carry);
}

HWY_INLINE void MultiplyBlock(const MatMulTask& task, const Block& block) {
  float* carry = task.scratch->carry;
  // Tiles of equal height: 4 and 4 rows take less time than 6 and 2.
  const size_t num_tiles = (task.x.num_rows + kTileRows - 1) / kTileRows;
  const size_t height = (task.x.num_rows + num_tiles - 1) / num_tiles;
  for (size_t row = 0; row < task.x.num_rows; row += height) {
    const RowsView x = TileOfX(task, block, row, std::min(height, task.x.num_rows - row));
    for (size_t c = 0; c < block.num_outputs; c += kTileOutputs) {
      PackedTileOf(task, block, x, row, c, carry);
      if (block.num_cols < task.weight.cols) carry += x.num_rows * kTileOutputs * kLanes;
    }
  }
}

template <class T>
HWY_NOINLINE void KeepWeights(const MatMulTask& task) {
  const size_t cols = task.weight.cols;
  Block block;
  for (block.output = 0; block.output < task.weight.rows; block.output += kBlockOutputs) {
    block.num_outputs = std::min(kBlockOutputs, task.weight.rows - block.output);
    block.begin = 0;
    do {  // once even without columns: the outputs are then the bias
      block.num_cols = std::min(kBlockCols, cols - block.begin);
      PackBlock<T>(task, block);
      MultiplyBlock(task, block);
      block.begin += block.num_cols;
    } while (block.begin < cols);
  }
}

template <class T, size_t kR = kTileRows>
HWY_INLINE void StreamWeightsOf(const MatMulTask& task) {
  if (task.x.num_rows == kR) return StreamWeights<kR, T>(task);
  if constexpr (kR > 1) StreamWeightsOf<T, kR - 1>(task);
}

template <class T>
HWY_INLINE void RunTaskOf(const MatMulTask& task) {
  if (task.x.num_rows <= kTileRows) {
    StreamWeightsOf<T>(task);
  } else {
    KeepWeights<T>(task);
  }
}

// One definition per target: Highway compiles this file into a namespace of its own for each.
// NOLINTNEXTLINE(misc-definitions-in-headers)
void RunTask(const MatMulTask& task) {
  switch (task.weight.dtype) {
    case DType::kF32:
      return RunTaskOf<float>(task);
    case DType::kF16:
      return RunTaskOf<F16>(task);
    case DType::kBF16:
      return RunTaskOf<BF16>(task);
    default:
      HWY_DASSERT(false);  // quantized products take another way
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#endif  // CSM_KERNELS_MATMUL_INL_H_

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

static_assert(kTileRows <= kMaxTileRows);

// The outputs of a tile: y = sum (+ y) (+ bias), in this order. `num_outputs` <= kTileOutputs.
template <size_t kR>
HWY_INLINE void Finish(const Sums<kR>& sums, const MatMulTask& task, size_t row, size_t output,
                       size_t num_outputs) {
  for (size_t r = 0; r < kR; ++r) {
    float out[kTileOutputs];
    SumLanes4(sums.v[r][0], sums.v[r][1], sums.v[r][2], sums.v[r][3], out);
    float* HWY_RESTRICT y = task.y + (row + r) * task.y_stride + output;
    if (task.accumulate) {
      for (size_t c = 0; c < num_outputs; ++c) out[c] += y[c];
    }
    if (task.bias != nullptr) {
      for (size_t c = 0; c < num_outputs; ++c) out[c] += task.bias[output + c];
    }
    std::memcpy(y, out, num_outputs * sizeof(float));
  }
}

// Few rows: the weights go straight from memory to registers. Bound: bytes of weights.
template <size_t kR, class T>
HWY_NOINLINE void StreamWeights(const MatMulTask& task) {
  const T* weight = static_cast<const T*>(task.weight.data);
  const size_t cols = task.weight.cols;
  const size_t outputs = task.weight.rows;
  for (size_t o = 0; o < outputs; o += kTileOutputs) {
    const T* w[kTileOutputs];
    for (size_t c = 0; c < kTileOutputs; ++c) {
      w[c] = weight + std::min(o + c, outputs - 1) * cols;  // past the last: computed, not stored
    }
    Sums<kR> sums;
    Clear(sums);
    MulAddColumns(task.x.data, task.x.stride, w, cols, sums);
    Finish(sums, task, 0, o, std::min(kTileOutputs, outputs - o));
  }
}

// Many rows: kTileOutputs weight rows at a time are widened to `packed`, which stays in the
// first-level cache while tiles of x stream through. Bound: multiply-adds.
// Sums wait in `carry` between blocks of kBlockCols columns.
constexpr size_t kPackedStride = kBlockCols + 16;  // rows of a tile fall on different cache sets

template <class T>
HWY_INLINE void Pack(const MatMulTask& task, size_t output, size_t begin, size_t n,
                     float* HWY_RESTRICT packed) {
  const T* weight = static_cast<const T*>(task.weight.data);
  for (size_t c = 0; c < kTileOutputs; ++c) {
    const T* from = weight + std::min(output + c, task.weight.rows - 1) * task.weight.cols + begin;
    float* to = packed + c * kPackedStride;
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) hn::Store(LoadF32(from + i), DF(), to + i);
    if (i < n) hn::Store(LoadF32(from + i, n - i), DF(), to + i);
  }
}

struct Block {
  size_t row, output, num_outputs;
  size_t begin, num_cols;
  bool first, last;  // of the columns
};

template <size_t kR>
HWY_NOINLINE void PackedTile(const MatMulTask& task, const Block& block,
                             const float* HWY_RESTRICT packed, float* HWY_RESTRICT carry) {
  const float* w[kTileOutputs];
  for (size_t c = 0; c < kTileOutputs; ++c) w[c] = packed + c * kPackedStride;
  Sums<kR> sums;
  if (block.first) {
    Clear(sums);
  } else {
#pragma GCC unroll 8
    for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 8
      for (size_t c = 0; c < kTileOutputs; ++c) {
        sums.v[r][c] = hn::Load(DF(), carry + (r * kTileOutputs + c) * kLanes);
      }
    }
  }
  const float* x = task.x.data + block.row * task.x.stride + block.begin;
  MulAddColumns(x, task.x.stride, w, block.num_cols, sums);
  if (block.last) {
    Finish(sums, task, block.row, block.output, block.num_outputs);
    return;
  }
#pragma GCC unroll 8
  for (size_t r = 0; r < kR; ++r) {
#pragma GCC unroll 8
    for (size_t c = 0; c < kTileOutputs; ++c) {
      hn::Store(sums.v[r][c], DF(), carry + (r * kTileOutputs + c) * kLanes);
    }
  }
}

template <class T>
HWY_NOINLINE void PackWeights(const MatMulTask& task) {
  HWY_ALIGN float packed[kTileOutputs * kPackedStride];
  HWY_ALIGN float carry[kRowsPerPass * kOutputsPerTask * kLanes];
  using Tile = void (*)(const MatMulTask&, const Block&, const float*, float*);
  static constexpr Tile kTiles[] = {
    nullptr,
    PackedTile<1>,
    PackedTile<2>,
    PackedTile<3>,
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON
    PackedTile<4>,
    PackedTile<5>,
    PackedTile<6>
#endif
  };
  const size_t cols = task.weight.cols;
  const size_t outputs = task.weight.rows;
  size_t begin = 0;
  do {  // once even without columns: the outputs are then the bias
    const size_t n = std::min(kBlockCols, cols - begin);
    float* next_carry = carry;
    for (size_t o = 0; o < outputs; o += kTileOutputs) {
      Pack<T>(task, o, begin, n, packed);
      for (size_t row = 0; row < task.x.num_rows; row += kTileRows) {
        const size_t num_rows = std::min(kTileRows, task.x.num_rows - row);
        const Block block = {
            row, o, std::min(kTileOutputs, outputs - o), begin, n, begin == 0, begin + n == cols};
        kTiles[num_rows](task, block, packed, next_carry);
        next_carry += num_rows * kTileOutputs * kLanes;
      }
    }
    begin += n;
  } while (begin < cols);
}

template <class T>
HWY_INLINE void RunTaskOf(const MatMulTask& task) {
  switch (task.x.num_rows) {
    case 1:
      return StreamWeights<1, T>(task);
    case 2:
      return StreamWeights<2, T>(task);
    case 3:
      return StreamWeights<3, T>(task);
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON
    case 4:
      return StreamWeights<4, T>(task);
    case 5:
      return StreamWeights<5, T>(task);
    case 6:
      return StreamWeights<6, T>(task);
#endif
    default:
      return PackWeights<T>(task);
  }
}

void RunTask(const MatMulTask& task) {
  switch (task.weight.dtype) {
    case DType::kF32:
      return RunTaskOf<float>(task);
    case DType::kF16:
      return RunTaskOf<F16>(task);
    case DType::kBF16:
      return RunTaskOf<BF16>(task);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#endif  // CSM_KERNELS_MATMUL_INL_H_

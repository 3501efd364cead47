// QuantizedTask with Arm's products of small matrices (Neoverse V1, N2 and later, Apple from M2
// on): smmla multiplies 2 outputs by 2 rows of x over 8 columns, twice what sdot does in an
// instruction. Weights of 4 columns each must be paired for it, which pays when 8 rows share them;
// fewer rows go the way of sdot, which these processors have as well.
#include "kernels/quantized_neon.h"

namespace csm::kernels {

void RunQuantizedDotprod(const QuantizedTask& task);
void RunQuantizedI8mm(const QuantizedTask& task);
int32_t MultiplyManyI8mm(size_t rounds, size_t& num_mul_adds);

namespace {

constexpr size_t kPairs = 4;  // of rows of x

// Columns [0, 8) and [8, 16) of two outputs or two rows, whose columns [0, 16) are `a` and `b`.
struct Columns {
  int8x16_t lower, upper;
};

[[gnu::always_inline]] inline Columns LoadPair(const int8_t* a, const int8_t* b) {
  const auto a64 = vreinterpretq_s64_s8(vld1q_s8(a)), b64 = vreinterpretq_s64_s8(vld1q_s8(b));
  return {vreinterpretq_s8_s64(vzip1q_s64(a64, b64)), vreinterpretq_s8_s64(vzip2q_s64(a64, b64))};
}

// Outputs 0 and 1, outputs 2 and 3: of each, 4 columns from `a` and the next 4 from `b`.
struct Outputs {
  int8x16_t v[2];
};

[[gnu::always_inline]] inline Outputs PairOutputs(int8x16_t a, int8x16_t b) {
  const auto a32 = vreinterpretq_s32_s8(a), b32 = vreinterpretq_s32_s8(b);
  return {{vreinterpretq_s8_s32(vzip1q_s32(a32, b32)), vreinterpretq_s8_s32(vzip2q_s32(a32, b32))}};
}

// [block][pair of rows][pair of outputs], and in a vector [output][row].
using Dots = int32x4_t[2][kPairs][2];

// dots += two groups (8 columns of either block, from `w` on) times x.
template <DType kType>
[[gnu::always_inline]] inline void AddGroups(const std::byte* w, int8x16_t table,
                                             const int8x16_t (&x)[2][kPairs], Dots& dots) {
  const Weights a = LoadWeights<kType>(w, table), b = LoadWeights<kType>(w + 64, table);
  const Outputs blocks[2] = {PairOutputs(a.first, b.first), PairOutputs(a.second, b.second)};
#pragma GCC unroll 2
  for (size_t block = 0; block < 2; ++block) {
#pragma GCC unroll 4
    for (size_t pair = 0; pair < kPairs; ++pair) {
#pragma GCC unroll 2
      for (size_t o = 0; o < 2; ++o) {
        int32x4_t& sum = dots[block][pair][o];
        sum = vmmlaq_s32(sum, blocks[block].v[o], x[block][pair]);
      }
    }
  }
}

using Walk = RowWalk<2 * kPairs>;

// The dot products of a tile: four outputs, all rows.
template <DType kType>
[[gnu::always_inline]] inline void Multiply4(const std::byte* w, int8x16_t table, const Walk& walk,
                                             Dots& dots) {
#pragma GCC unroll 2
  for (size_t half = 0; half < 2; ++half, w += 256) {
    int8x16_t lower[2][kPairs], upper[2][kPairs];
#pragma GCC unroll 2
    for (size_t block = 0; block < 2; ++block) {
#pragma GCC unroll 4
      for (size_t pair = 0; pair < kPairs; ++pair) {
        const size_t column = block * kBlock + half * 16;
        const Columns x = LoadPair(walk.q[2 * pair] + column, walk.q[2 * pair + 1] + column);
        lower[block][pair] = x.lower;
        upper[block][pair] = x.upper;
      }
    }
    AddGroups<kType>(w, table, lower, dots);
    AddGroups<kType>(w + 128, table, upper, dots);
  }
}

template <DType kType>
void MultiplyStrip(const QuantizedTask& task, size_t row, size_t strip) {
  const int8x16_t table = vld1q_s8(kQ4Values);
  const std::byte* tile = task.strips + strip * task.x.num_tiles * TileBytes(kType);
  Walk walk(task, row);
  for (size_t t = 0; t < task.x.num_tiles; ++t, tile += TileBytes(kType), walk.Advance()) {
    for (size_t quarter = 0; quarter < kStripRows / kQuarter; ++quarter) {
      Dots dots = {};
      Multiply4<kType>(tile + 64 + quarter * 16, table, walk, dots);
      const std::byte* scales = tile + quarter * kQuarter * 2;
      const float32x4_t w_scales[2] = {LoadScales(scales), LoadScales(scales + 32)};
#pragma GCC unroll 4
      for (size_t pair = 0; pair < kPairs; ++pair) {
        const auto& a = dots[0][pair];
        const auto& b = dots[1][pair];
        const int32x4_t even[2] = {vuzp1q_s32(a[0], a[1]), vuzp1q_s32(b[0], b[1])};
        const int32x4_t odd[2] = {vuzp2q_s32(a[0], a[1]), vuzp2q_s32(b[0], b[1])};
        const size_t r = 2 * pair;
        float32x4_t& sum0 = walk.sums[r][quarter];
        float32x4_t& sum1 = walk.sums[r + 1][quarter];
        sum0 = AddScaled(sum0, even, w_scales, walk.scales[r]);
        sum1 = AddScaled(sum1, odd, w_scales, walk.scales[r + 1]);
      }
    }
  }
  walk.Store(task, row, strip);
}

// The rows that are not a whole number of walks.
void RunRest(QuantizedTask task, size_t row) {
  task.x = task.x.Part(row, task.x.num_rows - row);
  task.y += row * task.y_stride;
  if (task.x.num_rows > 0) RunQuantizedDotprod(task);
}

template <DType kType>
void Run(const QuantizedTask& task) {
  const size_t num_rows = task.x.num_rows / (2 * kPairs) * (2 * kPairs);
  for (size_t strip = 0; num_rows > 0 && strip < NumStrips(task.num_outputs); ++strip) {
    for (size_t row = 0; row < num_rows; row += 2 * kPairs) MultiplyStrip<kType>(task, row, strip);
  }
  RunRest(task, num_rows);
}

}  // namespace

int32_t MultiplyManyI8mm(size_t rounds, size_t& num_mul_adds) {
  return MultiplyInRegisters<32>(rounds, num_mul_adds, [](int32x4_t sum, int8x16_t w, int8x16_t x) {
    return vmmlaq_s32(sum, w, x);
  });
}

void RunQuantizedI8mm(const QuantizedTask& task) {
  task.dtype == DType::kQ8_0 ? Run<DType::kQ8_0>(task) : Run<DType::kQ4>(task);
}

}  // namespace csm::kernels

// Attention in one pass over the keys and values: blocks of kBlockKeys positions, with the softmax
// rescaled from block to block (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018). The blocks start at a row's first key, so the order of every sum follows from
// num_keys and head_dim. The query heads of one key-value head share each load of a key or value,
// and rows that see the same keys share each block while it is in the first-level cache.
#if defined(CSM_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CSM_KERNELS_ATTENTION_INL_H_
#undef CSM_KERNELS_ATTENTION_INL_H_
#else
#define CSM_KERNELS_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "kernels/attention_task.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

constexpr size_t kBlockKeys = 64;
constexpr size_t kMaxHeads = kTileRows < 4 ? 2 : 4;  // heads computed together

// Some query heads of one row, and a block of the keys and values they read.
struct HeadGroup {
  const float* query;  // head h at h * head_dim
  const float* keys;   // position p of the block at p * kv_stride
  const float* values;
  float* output;
  size_t num_keys, head_dim, kv_stride;
  float scale;
  bool first;  // block of the row
};

// The running softmax of one head: output so far is sum(exp(score - max) * value).
struct Softmax {
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0.0f;
};

// scores[h][p] = query h · key p * scale.
template <size_t kH>
HWY_INLINE void Scores(const HeadGroup& group, float (&scores)[kH][kBlockKeys]) {
  for (size_t p = 0; p < group.num_keys; p += kTileOutputs) {
    const float* k[kTileOutputs];
    for (size_t c = 0; c < kTileOutputs; ++c) {
      k[c] = group.keys + std::min(p + c, group.num_keys - 1) * group.kv_stride;
    }
    Sums<kH> sums;
    Clear(sums);
    MulAddColumns(group.query, group.head_dim, k, group.head_dim, sums);
#pragma GCC unroll 8
    for (size_t h = 0; h < kH; ++h) {  // kBlockKeys is a multiple of kTileOutputs: in bounds
      SumLanes4(sums.v[h][0], sums.v[h][1], sums.v[h][2], sums.v[h][3], &scores[h][p]);
    }
  }
  const VF scale = hn::Set(DF(), group.scale);
  for (size_t h = 0; h < kH; ++h) {
    for (size_t p = 0; p < group.num_keys; p += kLanes) {
      hn::Store(hn::Mul(hn::Load(DF(), &scores[h][p]), scale), DF(), &scores[h][p]);
    }
  }
}

// Turns the block's scores into exp(score - new maximum); returns what the earlier blocks' sums
// must be multiplied by.
HWY_INLINE float Exponentiate(float* scores, size_t count, Softmax& softmax) {
  const DF df;
  const VF lowest = hn::Set(df, -std::numeric_limits<float>::infinity());
  for (size_t p = count; p % kLanes != 0; ++p) scores[p] = hn::GetLane(lowest);  // weigh nothing
  VF max = lowest;
  for (size_t p = 0; p < count; p += kLanes) max = hn::Max(max, hn::Load(df, scores + p));
  const float new_max = std::max(softmax.max, hn::GetLane(hn::MaxOfLanes(df, max)));
  const VF shift = hn::Set(df, new_max);
  VF sum = hn::Zero(df);
  for (size_t p = 0; p < count; p += kLanes) {
    const VF weight = hn::Exp(df, hn::Sub(hn::Load(df, scores + p), shift));
    hn::Store(weight, df, scores + p);
    sum = hn::Add(sum, weight);
  }
  const float rescale = hn::GetLane(hn::Exp(df, hn::Set(df, softmax.max - new_max)));
  softmax.sum = softmax.sum * rescale + SumLanes(sum);
  softmax.max = new_max;
  return rescale;
}

// output[h][d] = output[h][d] * rescale[h] + sum over p of weights[h][p] * values[p][d], for kV
// vectors of d from `d` on (the last one partial if `rest` is not 0). The first block, which has
// nothing to rescale, does not read the output.
template <size_t kH, size_t kV>
HWY_INLINE void WeighValues(const HeadGroup& group, size_t d, size_t rest,
                            const float (&weights)[kH][kBlockKeys], const float (&rescale)[kH]) {
  const DF df;
  const auto load = [&](const float* p) HWY_ATTR { return rest ? LoadF32(p, rest) : LoadF32(p); };
  VFElement sums[kH][kV];
#pragma GCC unroll 8
  for (size_t h = 0; h < kH; ++h) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kV; ++v) sums[h][v] = hn::Zero(df);
  }
  const float* values = group.values + d;
  for (size_t p = 0; p < group.num_keys; ++p, values += group.kv_stride) {
    VFElement row[kV];
#pragma GCC unroll 8
    for (size_t v = 0; v < kV; ++v) row[v] = load(values + v * kLanes);
#pragma GCC unroll 8
    for (size_t h = 0; h < kH; ++h) {
      const VF weight = hn::Set(df, weights[h][p]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kV; ++v) sums[h][v] = hn::MulAdd(weight, row[v], sums[h][v]);
    }
  }
#pragma GCC unroll 8
  for (size_t h = 0; h < kH; ++h) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kV; ++v) {
      float* output = group.output + h * group.head_dim + d + v * kLanes;
      VF sum = sums[h][v];
      if (!group.first) sum = hn::MulAdd(load(output), hn::Set(df, rescale[h]), sum);
      if (rest) {
        StoreN(sum, output, rest);
      } else {
        hn::StoreU(sum, df, output);
      }
    }
  }
}

template <size_t kH>
HWY_INLINE void AttendBlock(const HeadGroup& group, Softmax (&softmax)[kH]) {
  HWY_ALIGN float scores[kH][kBlockKeys];
  float rescale[kH];
  Scores<kH>(group, scores);
  for (size_t h = 0; h < kH; ++h) {
    rescale[h] = Exponentiate(scores[h], group.num_keys, softmax[h]);
  }
  constexpr size_t kV = 4;
  const size_t n = group.head_dim;
  size_t d = 0;
  for (; d + kV * kLanes <= n; d += kV * kLanes) WeighValues<kH, kV>(group, d, 0, scores, rescale);
  for (; d + kLanes <= n; d += kLanes) WeighValues<kH, 1>(group, d, 0, scores, rescale);
  if (d < n) WeighValues<kH, 1>(group, d, n - d, scores, rescale);
}

// Copies a block's keys or values of one head into aligned rows. In the cache of a model the rows
// are a power of two apart and fall on few sets of a processor's cache.
constexpr size_t kMaxPackedDim = 128;
constexpr size_t kPackedStride = kMaxPackedDim + 16;

HWY_INLINE void PackHeads(const float* from, size_t stride, size_t count, size_t head_dim,
                          float* HWY_RESTRICT to) {
  for (size_t p = 0; p < count; ++p) {
    std::memcpy(to + p * kPackedStride, from + p * stride, head_dim * sizeof(float));
  }
}

// kH query heads, from `head` on, of rows that see the same keys from the first on.
template <size_t kH>
HWY_NOINLINE void AttendRows(const AttentionTask& task, size_t head) {
  HWY_ALIGN float keys[kBlockKeys * kPackedStride];
  HWY_ALIGN float values[kBlockKeys * kPackedStride];
  Softmax softmax[kMaxAttentionRows][kH];
  const AttentionShape& shape = *task.shape;
  const std::span<const AttentionRow> rows = task.rows;
  const size_t n = shape.head_dim;
  const bool pack = rows.size() >= 4 && n <= kMaxPackedDim;  // a copy costs about a row's use of it
  size_t max_keys = 0;
  for (const AttentionRow& row : rows) max_keys = std::max(max_keys, row.num_keys);
  HeadGroup group = {};
  group.head_dim = n;
  group.scale = 1.0f / std::sqrt(static_cast<float>(n));
  for (size_t first = 0; first < max_keys; first += kBlockKeys) {
    group.first = first == 0;
    group.keys = rows[0].keys + first * shape.kv_stride + task.kv_head * n;
    group.values = rows[0].values + first * shape.kv_stride + task.kv_head * n;
    group.kv_stride = shape.kv_stride;
    if (pack) {
      const size_t count = std::min(kBlockKeys, max_keys - first);
      PackHeads(group.keys, shape.kv_stride, count, n, keys);
      PackHeads(group.values, shape.kv_stride, count, n, values);
      group.keys = keys;
      group.values = values;
      group.kv_stride = kPackedStride;
    }
    for (size_t r = 0; r < rows.size(); ++r) {
      if (first >= rows[r].num_keys) continue;
      group.num_keys = std::min(kBlockKeys, rows[r].num_keys - first);
      group.query = rows[r].query + head * n;
      group.output = rows[r].output + head * n;
      AttendBlock<kH>(group, softmax[r]);
    }
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t h = 0; h < kH; ++h) {
      float* output = rows[r].output + (head + h) * n;
      for (size_t d = 0; d < n; ++d) output[d] /= softmax[r][h].sum;
    }
  }
}

// One definition per target: Highway compiles this file into a namespace of its own for each.
// NOLINTNEXTLINE(misc-definitions-in-headers)
void RunTask(const AttentionTask& task) {
  const size_t num_heads = task.shape->num_heads / task.shape->num_kv_heads;
  size_t head = task.kv_head * num_heads;
  const size_t end = head + num_heads;
  if constexpr (kMaxHeads == 4) {
    for (; head + 4 <= end; head += 4) AttendRows<4>(task, head);
  }
  for (; head + 2 <= end; head += 2) AttendRows<2>(task, head);
  for (; head < end; ++head) AttendRows<1>(task, head);
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#endif  // CSM_KERNELS_ATTENTION_INL_H_

// Attention in one pass over the keys and values: blocks of kBlockKeys positions, with the softmax
// rescaled from block to block (Milakov and Gimelshein, "Online normalizer calculation for
// softmax", 2018). The blocks start at a row's first key, so the order of every sum follows from
// num_keys and head_dim. The query heads of one key-value head share each load of a key or value.
#include "kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

// Highway asks for this order.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include "kernels/targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "hwy/contrib/math/math-inl.h"
#include "kernels/tile-inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

constexpr size_t kBlockKeys = 256;
constexpr size_t kMaxHeads = kTileRows < 4 ? 2 : 4;  // heads computed together

// Some query heads of one row that read the same key-value head.
struct HeadGroup {
  const float* query;  // head h at h * head_dim
  const float* keys;   // position p at p * kv_stride
  const float* values;
  float* output;
  size_t num_keys, head_dim, kv_stride;
  float scale;
};

// The running softmax of one head: output so far is sum(exp(score - max) * value).
struct Softmax {
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0.0f;
};

// scores[h][p] = query h · key (first + p) * scale for p < count.
template <size_t kH>
HWY_INLINE void Scores(const HeadGroup& group, size_t first, size_t count,
                       float (&scores)[kH][kBlockKeys]) {
  for (size_t p = 0; p < count; p += kTileOutputs) {
    const float* k[kTileOutputs];
    for (size_t c = 0; c < kTileOutputs; ++c) {
      k[c] = group.keys + (first + std::min(p + c, count - 1)) * group.kv_stride;
    }
    Sums<kH> sums;
    Clear(sums);
    MulAddColumns(group.query, group.head_dim, k, group.head_dim, sums);
    for (size_t h = 0; h < kH; ++h) {  // kBlockKeys is a multiple of kTileOutputs: in bounds
      SumLanes4(sums.v[h][0], sums.v[h][1], sums.v[h][2], sums.v[h][3], &scores[h][p]);
    }
  }
  const VF scale = hn::Set(DF(), group.scale);
  for (size_t h = 0; h < kH; ++h) {
    for (size_t p = 0; p < count; p += kLanes) {
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
HWY_INLINE void WeighValues(const HeadGroup& group, size_t first, size_t count, size_t d,
                            size_t rest, const float (&weights)[kH][kBlockKeys],
                            const float (&rescale)[kH]) {
  const DF df;
  const auto load = [&](const float* p) HWY_ATTR { return rest ? LoadF32(p, rest) : LoadF32(p); };
  VF sums[kH][kV];
#pragma GCC unroll 8
  for (size_t h = 0; h < kH; ++h) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kV; ++v) sums[h][v] = hn::Zero(df);
  }
  const float* values = group.values + first * group.kv_stride + d;
  for (size_t p = 0; p < count; ++p, values += group.kv_stride) {
    VF row[kV];
#pragma GCC unroll 8
    for (size_t v = 0; v < kV; ++v) row[v] = load(values + v * kLanes);
#pragma GCC unroll 8
    for (size_t h = 0; h < kH; ++h) {
      const VF weight = hn::Set(df, weights[h][p]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kV; ++v) sums[h][v] = hn::MulAdd(weight, row[v], sums[h][v]);
    }
  }
  for (size_t h = 0; h < kH; ++h) {
    for (size_t v = 0; v < kV; ++v) {
      float* output = group.output + h * group.head_dim + d + v * kLanes;
      VF sum = sums[h][v];
      if (first > 0) sum = hn::MulAdd(load(output), hn::Set(df, rescale[h]), sum);
      if (rest) {
        StoreN(sum, output, rest);
      } else {
        hn::StoreU(sum, df, output);
      }
    }
  }
}

template <size_t kH>
HWY_NOINLINE void AttendHeads(const HeadGroup& group) {
  HWY_ALIGN float scores[kH][kBlockKeys];
  Softmax softmax[kH];
  float rescale[kH];
  constexpr size_t kV = 4;
  for (size_t first = 0; first < group.num_keys; first += kBlockKeys) {
    const size_t count = std::min(kBlockKeys, group.num_keys - first);
    Scores<kH>(group, first, count, scores);
    for (size_t h = 0; h < kH; ++h) rescale[h] = Exponentiate(scores[h], count, softmax[h]);
    size_t d = 0;
    for (; d + kV * kLanes <= group.head_dim; d += kV * kLanes) {
      WeighValues<kH, kV>(group, first, count, d, 0, scores, rescale);
    }
    for (; d + kLanes <= group.head_dim; d += kLanes) {
      WeighValues<kH, 1>(group, first, count, d, 0, scores, rescale);
    }
    if (d < group.head_dim) {
      WeighValues<kH, 1>(group, first, count, d, group.head_dim - d, scores, rescale);
    }
  }
  for (size_t h = 0; h < kH; ++h) {
    float* output = group.output + h * group.head_dim;
    for (size_t d = 0; d < group.head_dim; ++d) output[d] /= softmax[h].sum;
  }
}

// All query heads of key-value head `kv_head` of one row.
void AttendRow(const AttentionRow& row, const AttentionShape& shape, size_t kv_head) {
  const size_t num_heads = shape.num_heads / shape.num_kv_heads;
  const size_t offset = kv_head * num_heads * shape.head_dim;
  HeadGroup group = {row.query + offset,
                     row.keys + kv_head * shape.head_dim,
                     row.values + kv_head * shape.head_dim,
                     row.output + offset,
                     row.num_keys,
                     shape.head_dim,
                     shape.kv_stride,
                     1.0f / std::sqrt(static_cast<float>(shape.head_dim))};
  for (size_t h = 0; h < num_heads;) {
    size_t together = std::min(kMaxHeads, num_heads - h);
    if (together == 3) together = 2;
    if (together == 4) {
      if constexpr (kMaxHeads == 4) AttendHeads<4>(group);
    } else if (together == 2) {
      AttendHeads<2>(group);
    } else {
      AttendHeads<1>(group);
    }
    h += together;
    group.query += together * shape.head_dim;
    group.output += together * shape.head_dim;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace csm::kernels {
namespace {

HWY_EXPORT(AttendRow);

// Below this many multiply-adds the work is done before another thread has taken its share.
constexpr size_t kMinParallelWork = 64 * 1024;

}  // namespace

void Attention(std::span<const AttentionRow> rows, const AttentionShape& shape, ThreadPool& pool) {
  size_t num_scores = 0;
  for (const AttentionRow& row : rows) num_scores += row.num_keys;
  const size_t num_tasks = rows.size() * shape.num_kv_heads;
  // Rows of a sequence that follow each other find the keys of the head before in cache.
  const auto run = [&](size_t i) {
    HWY_DYNAMIC_DISPATCH(AttendRow)(rows[i % rows.size()], shape, i / rows.size());
  };
  if (2 * num_scores * shape.num_heads * shape.head_dim < kMinParallelWork) {
    for (size_t i = 0; i < num_tasks; ++i) run(i);
  } else {
    pool.ParallelFor(num_tasks, run);
  }
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

// How attention is cut into tasks for the pool; the arithmetic is in attention-inl.h.
//
// Measured with csm_kernels_bench, 32 heads of 64 over 8 key-value heads, on two cores of Zen 4:
// rows of a prefill at 0.57 of the peak (a sum across lanes costs as much as its 4 products); one
// row over 500 keys at 0.5 where they are in cache, else bound by the bytes of keys and values.
#include "kernels/attention.h"

#include <algorithm>

#include "kernels/attention_task.h"

// Highway asks for this order.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include "kernels/targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/attention-inl.h"
// clang-format on

#if HWY_ONCE
namespace csm::kernels {
namespace {

HWY_EXPORT(RunTask);

// Below this many multiply-adds the work is done before another thread has taken its share.
constexpr size_t kMinParallelWork = 64 * 1024;

constexpr size_t kTasksPerThread = 4;

// The row after `begin` and before `end` at which a run of rows with the same keys ends.
size_t EndOfRun(std::span<const AttentionRow> rows, size_t begin, size_t end) {
  size_t i = begin + 1;
  while (i < end && rows[i].keys == rows[begin].keys && rows[i].values == rows[begin].values) ++i;
  return i;
}

}  // namespace

void Attention(std::span<const AttentionRow> rows, const AttentionShape& shape, ThreadPool& pool) {
  if (rows.empty()) return;
  size_t num_scores = 0;
  for (const AttentionRow& row : rows) num_scores += row.num_keys * shape.num_heads;
  const bool alone = 2 * num_scores * shape.head_dim < kMinParallelWork;
  const size_t num_tasks_wanted = alone ? 1 : kTasksPerThread * pool.num_threads();
  const size_t rows_per_task =
      std::clamp<size_t>(rows.size() * shape.num_kv_heads / num_tasks_wanted, 1, kMaxAttentionRows);
  const size_t num_chunks = (rows.size() + rows_per_task - 1) / rows_per_task;
  const auto run = [&](size_t task) {
    const size_t kv_head = task / num_chunks;
    size_t row = task % num_chunks * rows_per_task;
    const size_t end = std::min(rows.size(), row + rows_per_task);
    while (row < end) {
      const size_t stop = EndOfRun(rows, row, end);
      HWY_DYNAMIC_DISPATCH(RunTask)({rows.subspan(row, stop - row), &shape, kv_head});
      row = stop;
    }
  };
  const size_t num_tasks = num_chunks * shape.num_kv_heads;
  pool.ParallelForIf(!alone, num_tasks, run);
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

// How a product is cut into tasks for the pool; the arithmetic is in matmul-inl.h.
//
// Measured on one core of a shared and busy Intel Ice Lake server (AVX-512, 2.8 GHz), best
// processor time of many calls, against what the same run reads from memory (17 GB/s, 8 streams)
// and multiplies in registers (92 G multiply-adds/s): one row 0.84 to 1.06 of the bandwidth; 126
// rows of 2048 inputs 0.57 of the multiply-adds, 64 rows 0.54, 32 rows 0.44.
#include "kernels/matmul.h"

#include <algorithm>
#include <cassert>
#include <memory>

#include "kernels/matmul_task.h"
#include "kernels/packed_matmul.h"

// Highway asks for this order.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul.cc"
#include "kernels/targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/matmul-inl.h"
// clang-format on

#if HWY_ONCE
namespace csm::kernels {
namespace {

HWY_EXPORT(RunTask);

// Below this many multiply-adds (20 us of one core if the weights are f32 in memory) a product is
// done before another thread, which may have to wake up, has taken its share.
constexpr size_t kMinParallelWork = 64 * 1024;

// How all the products of a call are cut: the same rows and about as many outputs a task.
struct Cut {
  size_t rows_per_task;
  size_t outputs_per_task;
};

constexpr size_t DivideRoundUp(size_t a, size_t b) { return (a + b - 1) / b; }
constexpr size_t RoundUp(size_t a, size_t b) { return DivideRoundUp(a, b) * b; }

size_t NumOutputBlocks(const Product& product, const Cut& cut) {
  return DivideRoundUp(product.weight.rows, cut.outputs_per_task);
}

// Several tasks a thread even out threads of unequal speed.
constexpr size_t kTasksPerThread = 4;

Cut ChooseCut(const RowsView& x, size_t total_outputs, size_t num_threads) {
  const bool few_rows = x.num_rows <= kMaxTileRows;
  const size_t unit = few_rows ? 8 : kBlockOutputs;  // the smallest number of outputs worth a task
  const size_t wanted = num_threads == 1 ? 1 : kTasksPerThread * num_threads;
  size_t num_passes = DivideRoundUp(x.num_rows, kRowsPerPass);
  // Too few outputs to go round: shorter passes, of four tiles at least.
  const size_t num_units = DivideRoundUp(total_outputs, unit);
  num_passes = std::max(num_passes, std::min(DivideRoundUp(wanted, num_units),
                                             DivideRoundUp(x.num_rows, 4 * kMaxTileRows)));
  // Passes of equal height, so that none reads all weights for a few left-over rows.
  const size_t rows =
      std::min(kRowsPerPass, RoundUp(DivideRoundUp(x.num_rows, num_passes), kMaxTileRows));
  const size_t wanted_cuts = DivideRoundUp(wanted, num_passes);
  return {rows, RoundUp(DivideRoundUp(total_outputs, wanted_cuts), unit)};
}

// Of the calling thread, kept for its next call.
MatMulScratch* ThreadScratch() {
  thread_local const auto scratch = std::make_unique_for_overwrite<MatMulScratch>();
  return scratch.get();
}

MatMulTask TaskAt(const RowsView& x, const Product& product, const Cut& cut, size_t index) {
  const size_t num_blocks = NumOutputBlocks(product, cut);
  const size_t row = index / num_blocks * cut.rows_per_task;
  const size_t output = index % num_blocks * cut.outputs_per_task;
  MatMulTask task;
  task.x = {x.data + row * x.stride, std::min(cut.rows_per_task, x.num_rows - row), x.stride};
  task.weight =
      RowsOf(product.weight, output, std::min(cut.outputs_per_task, product.weight.rows - output));
  task.bias = product.bias == nullptr ? nullptr : product.bias + output;
  task.y = product.y + row * product.y_stride + output;
  task.y_stride = product.y_stride;
  task.accumulate = product.accumulate;
  task.scratch = task.x.num_rows <= 1 ? nullptr : ThreadScratch();
  return task;
}

// Products whose weights are f32, f16 or bf16.
void MatMulFloats(const RowsView& x, std::span<const Product> products, ThreadPool& pool) {
  size_t total_outputs = 0;
  for (const Product& product : products) {
    assert(product.weight.cols == products[0].weight.cols);
    total_outputs += product.weight.rows;
  }
  if (total_outputs == 0) return;
  const size_t work = x.num_rows * total_outputs * products[0].weight.cols;
  const bool inline_only = work < kMinParallelWork;
  const Cut cut = ChooseCut(x, total_outputs, inline_only ? 1 : pool.num_threads());
  const size_t num_row_blocks = DivideRoundUp(x.num_rows, cut.rows_per_task);
  size_t num_tasks = 0;
  for (const Product& product : products) {
    num_tasks += num_row_blocks * NumOutputBlocks(product, cut);
  }
  const auto run = [&](size_t index) {
    size_t p = 0;
    for (;; ++p) {
      const size_t count = num_row_blocks * NumOutputBlocks(products[p], cut);
      if (index < count) break;
      index -= count;
    }
    HWY_DYNAMIC_DISPATCH(RunTask)(TaskAt(x, products[p], cut, index));
  };
  pool.ParallelForIf(!inline_only, num_tasks, run);
}

// Products with quantized weights: strips are shared out, each task sees all rows.
void MatMulPacked(const RowsView& x, std::span<const Product> products, ThreadPool& pool) {
  thread_local QuantizedBuffer buffer;
  const size_t cols = products[0].weight.cols;
  const QuantizedRows rows = buffer.Quantize(x, cols, pool);
  size_t total_strips = 0;
  for (const Product& product : products) {
    assert(product.weight.cols == cols);
    total_strips += NumStrips(product.weight.rows);
  }
  if (total_strips == 0) return;
  const bool inline_only = x.num_rows * total_strips * kStripRows * cols < kMinParallelWork;
  const size_t num_wanted = inline_only ? 1 : kTasksPerThread * pool.num_threads();
  constexpr size_t kUnit = 4;  // strips that a kernel reads side by side
  const size_t strips_per_task = RoundUp(DivideRoundUp(total_strips, num_wanted), kUnit);
  const auto num_tasks_of = [&](const Product& product) {
    return DivideRoundUp(NumStrips(product.weight.rows), strips_per_task);
  };
  size_t num_tasks = 0;
  for (const Product& product : products) num_tasks += num_tasks_of(product);
  const PackedKernel kernel = PackedTargets().front().run;
  const auto run = [&](size_t index) {
    size_t p = 0;
    for (; index >= num_tasks_of(products[p]); ++p) index -= num_tasks_of(products[p]);
    const Product& product = products[p];
    const MatrixView& weight = product.weight;
    const size_t first = index * strips_per_task * kStripRows;
    kernel({.x = rows,
            .strips = static_cast<const std::byte*>(weight.data) +
                      index * strips_per_task * StripBytes(weight.dtype, cols),
            .dtype = weight.dtype,
            .num_outputs = std::min(strips_per_task * kStripRows, weight.rows - first),
            .bias = product.bias == nullptr ? nullptr : product.bias + first,
            .y = product.y + first,
            .y_stride = product.y_stride,
            .accumulate = product.accumulate});
  };
  pool.ParallelForIf(!inline_only, num_tasks, run);
}

}  // namespace

void MatMul(const RowsView& x, std::span<const Product> products, ThreadPool& pool) {
  if (x.num_rows == 0) return;
  while (!products.empty()) {
    const bool quantized = IsQuantized(products[0].weight.dtype);
    size_t count = 1;
    while (count < products.size() && IsQuantized(products[count].weight.dtype) == quantized) {
      ++count;
    }
    (quantized ? MatMulPacked : MatMulFloats)(x, products.first(count), pool);
    products = products.subspan(count);
  }
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

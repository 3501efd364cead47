// How a product is cut into tasks for the pool; the arithmetic is in matmul-inl.h (float weights)
// quantized_matmul_*.cc (quantized ones) and bf16_matmul_*.cc (bf16 in `fast` precision).
#include "kernels/matmul.h"

#include <algorithm>
#include <cassert>

#include "kernels/bf16_matmul.h"
#include "kernels/matmul_task.h"
#include "kernels/quantized_matmul.h"

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

constexpr size_t DivideRoundUp(size_t a, size_t b) { return (a + b - 1) / b; }
constexpr size_t RoundUp(size_t a, size_t b) { return DivideRoundUp(a, b) * b; }

// How all the products of a call are cut: the same rows and about as many strips a task.
struct Cut {
  size_t rows_per_task;
  size_t strips_per_task;
};

// Strips first: every weight is then read by one thread. Rows where there are not enough strips.
Cut ChooseCut(size_t num_rows, size_t total_strips, size_t num_threads) {
  constexpr size_t kTasksPerThread = 4;  // they even out threads of unequal speed
  constexpr size_t kStripUnit = 4;       // that a kernel walks side by side
  constexpr size_t kRowUnit = 24;        // several times the height of a tile
  const size_t wanted = num_threads == 1 ? 1 : kTasksPerThread * num_threads;
  const size_t strips = RoundUp(DivideRoundUp(total_strips, wanted), kStripUnit);
  const size_t row_cuts = DivideRoundUp(wanted, DivideRoundUp(total_strips, strips));
  return {RoundUp(DivideRoundUp(num_rows, row_cuts), kRowUnit), strips};
}

// Some rows and strips of a product.
struct Piece {
  const Product& product;
  size_t row, num_rows;
  size_t strip, num_strips;
};

// Calls run(piece) for the pieces of all products.
template <typename Run>
void ForPieces(const RowsView& x, std::span<const Product> products, ThreadPool& pool,
               const Run& run) {
  size_t total_strips = 0;
  for (const Product& product : products) {
    assert(product.weight.cols == products[0].weight.cols);
    total_strips += NumStrips(product.weight.rows);
  }
  if (total_strips == 0) return;
  const size_t work = x.num_rows * total_strips * kStripRows * products[0].weight.cols;
  const bool alone = work < kMinParallelWork;
  const Cut cut = ChooseCut(x.num_rows, total_strips, alone ? 1 : pool.num_threads());
  const size_t num_row_cuts = DivideRoundUp(x.num_rows, cut.rows_per_task);
  const auto num_tasks_of = [&](const Product& product) {
    return num_row_cuts * DivideRoundUp(NumStrips(product.weight.rows), cut.strips_per_task);
  };
  size_t num_tasks = 0;
  for (const Product& product : products) num_tasks += num_tasks_of(product);
  pool.ParallelForIf(!alone, num_tasks, [&](size_t index) {
    size_t p = 0;
    for (; index >= num_tasks_of(products[p]); ++p) index -= num_tasks_of(products[p]);
    const size_t row = index % num_row_cuts * cut.rows_per_task;
    const size_t strip = index / num_row_cuts * cut.strips_per_task;
    run(Piece{products[p], row, std::min(cut.rows_per_task, x.num_rows - row), strip,
              std::min(cut.strips_per_task, NumStrips(products[p].weight.rows) - strip)});
  });
}

// The task of a piece, but for x.
template <typename Task>
Task TaskOf(const Piece& piece) {
  const PackedMatrix& weight = piece.product.weight;
  const size_t first = piece.strip * kStripRows;
  Task task;
  task.strips = static_cast<const std::byte*>(weight.data) +
                piece.strip * StripBytes(weight.dtype, weight.cols);
  task.dtype = weight.dtype;
  task.num_outputs = std::min(piece.num_strips * kStripRows, weight.rows - first);
  task.bias = piece.product.bias == nullptr ? nullptr : piece.product.bias + first;
  task.y = piece.product.y + piece.row * piece.product.y_stride + first;
  task.y_stride = piece.product.y_stride;
  task.accumulate = piece.product.accumulate;
  return task;
}

void MatMulFloats(const RowsView& x, std::span<const Product> products, ThreadPool& pool) {
  ForPieces(x, products, pool, [&](const Piece& piece) {
    auto task = TaskOf<MatMulTask>(piece);
    task.x = {x.data + piece.row * x.stride, piece.num_rows, x.stride};
    task.cols = piece.product.weight.cols;
    HWY_DYNAMIC_DISPATCH(RunTask)(task);
  });
}

void MatMulQuantized(const RowsView& x, std::span<const Product> products, ThreadPool& pool) {
  thread_local QuantizedBuffer buffer;
  const QuantizedRows rows = buffer.Quantize(x, products[0].weight.cols, pool);
  const QuantizedKernel kernel = QuantizedTargets().front().run;
  ForPieces(x, products, pool, [&](const Piece& piece) {
    auto task = TaskOf<QuantizedTask>(piece);
    task.x = rows.Part(piece.row, piece.num_rows);
    kernel(task);
  });
}

void MatMulBf16(const RowsView& x, std::span<const Product> products, ThreadPool& pool) {
  thread_local Bf16Buffer buffer;
  const Bf16Rows rows = buffer.Round(x, products[0].weight.cols, pool);
  ForPieces(x, products, pool, [&](const Piece& piece) {
    auto task = TaskOf<Bf16Task>(piece);
    task.x = rows.Part(piece.row, piece.num_rows);
    RunBf16(task);
  });
}

using MatMulOf = void (*)(const RowsView&, std::span<const Product>, ThreadPool&);

MatMulOf KindOf(const PackedMatrix& weight) {
  if (IsQuantized(weight.dtype)) return MatMulQuantized;
  const bool is_fast = weight.rounds_input && weight.dtype == DType::kBF16;
  return is_fast && HasBf16Products() ? MatMulBf16 : MatMulFloats;
}

}  // namespace

void MatMul(const RowsView& x, std::span<const Product> products, ThreadPool& pool) {
  if (x.num_rows == 0) return;
  while (!products.empty()) {
    const MatMulOf kind = KindOf(products[0].weight);
    size_t count = 1;
    while (count < products.size() && KindOf(products[count].weight) == kind) ++count;
    kind(x, products.first(count), pool);
    products = products.subspan(count);
  }
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

// Products, in the shapes of csm-1b. Weights are cold: every call takes the next of several copies.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "bench_machine.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/packed.h"

namespace csm::kernels {
namespace {

using bench::kBF16;
using bench::kF16;
using bench::kF32;
using bench::kQ4;
using bench::kQ8;
using bench::TheMachine;
using bench::Values;

// The matrix in the form that kernels read, at `to`.
void Store(const std::vector<float>& values, DType dtype, size_t cols, std::byte* to) {
  const size_t rows = values.size() / cols;
  std::vector<std::byte> stored(rows * StoredRowBytes(dtype, cols));
  if (IsQuantized(dtype)) {
    QuantizeBlocks(values.data(), values.size(), dtype, stored.data());
  } else {
    Convert(values.data(), DType::kF32, stored.data(), dtype, values.size());
  }
  PackMatrix({stored.data(), dtype, rows, cols}, to);
}

// Arguments: rows of x, outputs, inputs, step from row to row of x (0: inputs), DType.
void BM_MatMul(benchmark::State& state) {
  const size_t rows = static_cast<size_t>(state.range(0));
  const size_t outputs = static_cast<size_t>(state.range(1));
  const size_t cols = static_cast<size_t>(state.range(2));
  const size_t stride = state.range(3) == 0 ? cols : static_cast<size_t>(state.range(3));
  const DType dtype = static_cast<DType>(state.range(4));
  const size_t bytes = BytesOf({nullptr, dtype, outputs, cols});
  // Copies beyond any cache, so each call reads its weights from memory as a step of the model
  // does.
  const size_t num_copies = std::max<size_t>(1, (size_t{256} << 20) / bytes);
  const std::vector<float> values = Values(outputs * cols);
  constexpr size_t kAlignment = 64;
  std::vector<std::byte> buffer(bytes * num_copies + kAlignment);
  void* weights = buffer.data();
  size_t space = buffer.size();
  std::align(kAlignment, bytes * num_copies, weights, space);
  auto* first = static_cast<std::byte*>(weights);
  Store(values, dtype, cols, first);
  for (size_t i = 1; i < num_copies; ++i) std::memcpy(first + i * bytes, first, bytes);
  const std::vector<float> x = Values((rows - 1) * stride + cols);
  std::vector<float> y(rows * outputs);
  size_t copy = 0;
  for (auto _ : state) {
    const Product product = {
        {first + copy * bytes, dtype, outputs, cols}, nullptr, y.data(), outputs};
    MatMul({x.data(), rows, stride}, product, TheMachine().pool);
    copy = (copy + 1) % num_copies;
    benchmark::ClobberMemory();
  }
  bench::Report(state, static_cast<double>(bytes), static_cast<double>(rows * outputs * cols),
                IsQuantized(dtype));
}

void MatMulShapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "outputs", "inputs", "stride", "dtype"});
  for (const int64_t dtype : {kF32, kF16, kBF16, kQ8, kQ4}) {
    for (const int64_t rows : {1, 8, 64}) b->Args({rows, 8192, 2048, 0, dtype});
  }
  for (const int64_t dtype : {kBF16, kQ8, kQ4}) {
    for (const int64_t rows : {2, 4, 16, 126, 512}) b->Args({rows, 8192, 2048, 0, dtype});
    // A step's other products: values, down, the depth decoder's query and a head.
    b->Args({1, 512, 2048, 0, dtype});
    b->Args({1, 2048, 8192, 0, dtype});
    b->Args({1, 1024, 1024, 0, dtype});
    b->Args({1, 2051, 1024, 0, dtype});
  }
  b->Args({512, 2048, 8192, 0, kBF16});
  b->Args({126, 2048, 2048, 0, kF32});
  // Mimi: the first convolution, the strided and the transposed ones, the transformer.
  b->Args({24000, 64, 7, 1, kF32});
  b->Args({24000, 32, 192, 64, kF32});
  b->Args({1500, 512, 3584, 512, kF32});
  b->Args({25, 2048, 512, 0, kF32});
}
BENCHMARK(BM_MatMul)->Apply(MatMulShapes)->UseRealTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace csm::kernels

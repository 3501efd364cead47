// Micro-benchmarks of the kernels in the shapes of csm-1b. Each result carries its share of what
// the machine itself reaches in the same run: `of_read` of the memory bandwidth (weights are cold:
// every call takes the next of several copies), `of_fma` of the multiply-adds in registers.
//
//   csm_kernels_bench [--benchmark_filter=...]     threads: CSM_BENCH_THREADS, default all cores
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/machine.h"
#include "kernels/matmul.h"
#include "kernels/packed.h"

namespace csm::kernels {
namespace {

struct Machine {
  Machine() : pool(NumThreads()) {
    read_bytes = MeasureReadBandwidth(pool);
    mul_adds = MeasureMulAddRate(pool);
    int8_mul_adds = MeasureInt8Rate(pool);
  }
  static int NumThreads() {
    const char* wish = std::getenv("CSM_BENCH_THREADS");
    return wish != nullptr ? std::max(1, std::atoi(wish)) : NumUsableCores();
  }
  ThreadPool pool;
  double read_bytes;
  double mul_adds;
  double int8_mul_adds;
};

Machine& TheMachine() {
  static Machine machine;
  return machine;
}

std::vector<float> Values(size_t n) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i % 17) * 0.0625f - 0.5f;
  return values;
}

// The matrix in the form that kernels read, at `to`.
void Store(const std::vector<float>& values, DType dtype, size_t cols, std::byte* to) {
  if (!IsQuantized(dtype)) return Convert(values.data(), DType::kF32, to, dtype, values.size());
  const size_t rows = values.size() / cols, row_bytes = cols / kBlock * BlockBytes(dtype);
  std::vector<std::byte> blocks(rows * row_bytes);
  QuantizeBlocks(values.data(), values.size(), dtype, blocks.data());
  for (size_t row = 0; row < rows; row += kStripRows) {
    PackStrip(blocks.data() + row * row_bytes, row_bytes, std::min(kStripRows, rows - row), cols,
              dtype, to + row / kStripRows * StripBytes(dtype, cols));
  }
}

void Report(benchmark::State& state, double bytes, double mul_adds, bool is_int8 = false) {
  const double seconds_to_rate = static_cast<double>(state.iterations());
  using benchmark::Counter;
  state.counters["of_read"] =
      Counter(bytes * seconds_to_rate / TheMachine().read_bytes, Counter::kIsRate);
  const double peak = is_int8 ? TheMachine().int8_mul_adds : TheMachine().mul_adds;
  state.counters[is_int8 ? "of_int8" : "of_fma"] =
      Counter(mul_adds * seconds_to_rate / peak, Counter::kIsRate);
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
    const MatrixView weight = {first + copy * bytes, dtype, outputs, cols};
    MatMul({x.data(), rows, stride}, Product{weight, nullptr, y.data(), outputs, false},
           TheMachine().pool);
    copy = (copy + 1) % num_copies;
    benchmark::ClobberMemory();
  }
  Report(state, static_cast<double>(bytes), static_cast<double>(rows * outputs * cols),
         IsQuantized(dtype));
}

constexpr int64_t kF32 = static_cast<int64_t>(DType::kF32);
constexpr int64_t kF16 = static_cast<int64_t>(DType::kF16);
constexpr int64_t kBF16 = static_cast<int64_t>(DType::kBF16);
constexpr int64_t kQ8 = static_cast<int64_t>(DType::kQ8_0);
constexpr int64_t kQ4 = static_cast<int64_t>(DType::kQ4);

void MatMulShapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "outputs", "inputs", "stride", "dtype"});
  for (const int64_t dtype : {kF32, kF16, kBF16, kQ8, kQ4}) b->Args({1, 8192, 2048, 0, dtype});
  for (const int64_t dtype : {kQ8, kQ4}) {
    b->Args({1, 512, 2048, 0, dtype});
    b->Args({1, 1024, 8192, 0, dtype});
    for (const int64_t rows : {2, 4, 8, 16, 126, 512}) b->Args({rows, 8192, 2048, 0, dtype});
  }
  b->Args({1, 2048, 8192, 0, kBF16});
  b->Args({1, 2048, 2048, 0, kBF16});
  b->Args({1, 512, 2048, 0, kBF16});
  b->Args({1, 1024, 1024, 0, kBF16});
  b->Args({1, 2051, 1024, 0, kBF16});
  for (const int64_t rows : {2, 4, 6, 8, 16, 32, 64, 126, 512}) {
    b->Args({rows, 8192, 2048, 0, kBF16});
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

// Arguments: rows of one sequence, keys of its last row, heads, key-value heads, head_dim.
void BM_Attention(benchmark::State& state) {
  const size_t num_rows = static_cast<size_t>(state.range(0));
  const size_t num_keys = static_cast<size_t>(state.range(1));
  AttentionShape shape;
  shape.num_heads = static_cast<size_t>(state.range(2));
  shape.num_kv_heads = static_cast<size_t>(state.range(3));
  shape.head_dim = static_cast<size_t>(state.range(4));
  shape.kv_stride = shape.num_kv_heads * shape.head_dim;
  const size_t width = shape.num_heads * shape.head_dim;
  const std::vector<float> queries = Values(num_rows * width);
  const std::vector<float> keys = Values(num_keys * shape.kv_stride);
  const std::vector<float> values = Values(num_keys * shape.kv_stride);
  std::vector<float> outputs(num_rows * width);
  std::vector<AttentionRow> rows(num_rows);
  size_t num_scores = 0;
  for (size_t r = 0; r < num_rows; ++r) {
    rows[r] = {queries.data() + r * width, keys.data(), values.data(), num_keys - num_rows + 1 + r,
               outputs.data() + r * width};
    num_scores += rows[r].num_keys * shape.num_heads;
  }
  for (auto _ : state) {
    Attention(rows, shape, TheMachine().pool);
    benchmark::ClobberMemory();
  }
  Report(state, static_cast<double>(2 * keys.size() * sizeof(float)),
         static_cast<double>(2 * num_scores * shape.head_dim));
}
BENCHMARK(BM_Attention)
    ->ArgNames({"rows", "keys", "heads", "kv_heads", "head_dim"})
    ->Args({1, 500, 32, 8, 64})
    ->Args({1, 2048, 32, 8, 64})
    ->Args({1, 32, 8, 2, 128})
    ->Args({512, 512, 32, 8, 64})
    ->Args({2048, 2048, 32, 8, 64})
    ->Args({25, 250, 8, 8, 64})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// The functions of single elements, on 8192 floats: in cache, one thread.
template <typename F>
void RunElements(benchmark::State& state, const F& f) {
  constexpr size_t kN = 8192;
  const std::vector<float> x = Values(kN);
  std::vector<float> y = Values(kN);
  for (auto _ : state) {
    f(x.data(), y.data(), kN);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kN));
}

void BM_RmsNorm(benchmark::State& state) {
  RunElements(state, [](const float* x, float* y, size_t n) { RmsNorm(x, x, 1e-5f, y, n); });
}
BENCHMARK(BM_RmsNorm);

void BM_LayerNorm(benchmark::State& state) {
  RunElements(state, [](const float* x, float* y, size_t n) { LayerNorm(x, x, x, 1e-5f, y, n); });
}
BENCHMARK(BM_LayerNorm);

void BM_SiluMultiply(benchmark::State& state) {
  RunElements(state, [](const float* x, float* y, size_t n) {
    std::memcpy(y, x, n * sizeof(float));
    SiluMultiply(y, x, n);
  });
}
BENCHMARK(BM_SiluMultiply);

void BM_Gelu(benchmark::State& state) {
  RunElements(state, [](const float* x, float* y, size_t n) {
    std::memcpy(y, x, n * sizeof(float));
    Gelu(y, n);
  });
}
BENCHMARK(BM_Gelu);

void BM_Elu(benchmark::State& state) {
  RunElements(state, [](const float* x, float* y, size_t n) { Elu(x, y, n); });
}
BENCHMARK(BM_Elu);

}  // namespace
}  // namespace csm::kernels

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const auto& machine = csm::kernels::TheMachine();
  benchmark::AddCustomContext("instruction_set", csm::kernels::InstructionSet());
  benchmark::AddCustomContext("threads", std::to_string(machine.pool.num_threads()));
  benchmark::AddCustomContext("read_GB_per_s", std::to_string(machine.read_bytes / 1e9));
  benchmark::AddCustomContext("fma_G_per_s", std::to_string(machine.mul_adds / 1e9));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

// Attention (softmax included) over cached keys and values.
#include <benchmark/benchmark.h>

#include <vector>

#include "bench_machine.h"
#include "kernels/attention.h"

namespace csm::kernels {
namespace {

using bench::TheMachine;
using bench::Values;

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
  bench::Report(state, static_cast<double>(2 * keys.size() * sizeof(float)),
                static_cast<double>(2 * num_scores * shape.head_dim));
}
BENCHMARK(BM_Attention)
    ->ArgNames({"rows", "keys", "heads", "kv_heads", "head_dim"})
    ->Args({1, 500, 32, 8, 64})  // the backbone: steps, then prompts
    ->Args({1, 2048, 32, 8, 64})
    ->Args({512, 512, 32, 8, 64})
    ->Args({2048, 2048, 32, 8, 64})
    ->Args({1, 32, 8, 2, 128})  // the depth decoder
    ->Args({2, 250, 8, 8, 64})  // the codec: a frame, and many
    ->Args({64, 250, 8, 8, 64})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace csm::kernels

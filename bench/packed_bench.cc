// Quantized weights on their way from f32 to the kernels' order, and activations to int8.
#include <benchmark/benchmark.h>

#include <vector>

#include "bench_machine.h"
#include "kernels/packed.h"
#include "kernels/quantized_matmul.h"

namespace csm::kernels {
namespace {

using bench::kQ4;
using bench::kQ8;
using bench::TheMachine;
using bench::Values;

constexpr size_t kCols = 2048;

std::vector<std::byte> Quantized(DType dtype, size_t num_rows) {
  std::vector<std::byte> blocks(num_rows * StoredRowBytes(dtype, kCols));
  QuantizeBlocks(Values(num_rows * kCols).data(), num_rows * kCols, dtype, blocks.data());
  return blocks;
}

void CountWeights(benchmark::State& state, size_t weights) {
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(weights));
}

void BM_QuantizeBlocks(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::vector<float> x = Values(kCols);
  std::vector<std::byte> blocks(StoredRowBytes(dtype, kCols));
  for (auto _ : state) {
    QuantizeBlocks(x.data(), kCols, dtype, blocks.data());
    benchmark::ClobberMemory();
  }
  CountWeights(state, kCols);
}
BENCHMARK(BM_QuantizeBlocks)->ArgName("dtype")->Arg(kQ8)->Arg(kQ4);

void BM_DequantizeBlocks(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::vector<std::byte> blocks = Quantized(dtype, 1);
  std::vector<float> x(kCols);
  for (auto _ : state) {
    DequantizeBlocks(blocks.data(), kCols, dtype, x.data());
    benchmark::ClobberMemory();
  }
  CountWeights(state, kCols);
}
BENCHMARK(BM_DequantizeBlocks)->ArgName("dtype")->Arg(kQ8)->Arg(kQ4);

void BM_PackStrip(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::vector<std::byte> rows = Quantized(dtype, kStripRows);
  std::vector<std::byte> strip(StripBytes(dtype, kCols));
  for (auto _ : state) {
    PackStrip(rows.data(), StoredRowBytes(dtype, kCols), kStripRows, kCols, dtype, strip.data());
    benchmark::ClobberMemory();
  }
  CountWeights(state, kStripRows * kCols);
}
BENCHMARK(BM_PackStrip)->ArgName("dtype")->Arg(kQ8)->Arg(kQ4);

void BM_UnpackRow(benchmark::State& state) {
  const auto dtype = static_cast<DType>(state.range(0));
  const std::vector<std::byte> rows = Quantized(dtype, kStripRows);
  std::vector<std::byte> strip(StripBytes(dtype, kCols));
  PackStrip(rows.data(), StoredRowBytes(dtype, kCols), kStripRows, kCols, dtype, strip.data());
  std::vector<float> x(kCols);
  for (auto _ : state) {
    UnpackRow({strip.data(), dtype, kStripRows, kCols}, 5, x.data());
    benchmark::ClobberMemory();
  }
  CountWeights(state, kCols);
}
BENCHMARK(BM_UnpackRow)->ArgName("dtype")->Arg(kQ8)->Arg(kQ4);

// Argument: rows of activations, which every quantized product rounds to int8 first.
void BM_QuantizeRows(benchmark::State& state) {
  const size_t num_rows = static_cast<size_t>(state.range(0));
  const std::vector<float> x = Values(num_rows * kCols);
  QuantizedBuffer buffer;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        buffer.Quantize({x.data(), num_rows, kCols}, kCols, TheMachine().pool));
  }
  CountWeights(state, num_rows * kCols);
}
BENCHMARK(BM_QuantizeRows)->ArgName("rows")->Arg(1)->Arg(8)->Arg(64)->Arg(512)->UseRealTime();

}  // namespace
}  // namespace csm::kernels

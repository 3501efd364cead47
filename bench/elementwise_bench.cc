// The functions of single elements, on rows that lie in cache, one thread.
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "bench_machine.h"
#include "kernels/elementwise.h"
#include "kernels/rope.h"

namespace csm::kernels {
namespace {

using bench::kBF16;
using bench::kF16;
using bench::kF32;
using bench::Values;

constexpr size_t kN = 8192;  // the widest row of csm-1b

template <typename F>
void RunElements(benchmark::State& state, const F& f, size_t n = kN) {
  const std::vector<float> x = Values(n);
  std::vector<float> y = Values(n);
  for (auto _ : state) {
    f(x.data(), y.data(), n);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * n));
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

void BM_Add(benchmark::State& state) {
  RunElements(state, [](const float* x, float* y, size_t n) {
    std::memset(y, 0, n * sizeof(float));  // else the sums would grow without end
    Add(x, y, n);
  });
}
BENCHMARK(BM_Add);

void BM_AddScaled(benchmark::State& state) {
  RunElements(state, [](const float* x, float* y, size_t n) {
    std::memset(y, 0, n * sizeof(float));
    AddScaled(x, x, y, n);
  });
}
BENCHMARK(BM_AddScaled);

// Argument: head_dim of the backbone and the codec, or of the depth decoder.
void BM_Rope(benchmark::State& state) {
  const size_t n = static_cast<size_t>(state.range(0));
  const std::vector<float> cos(n / 2, 0.6f), sin(n / 2, 0.8f);  // turns and keeps the length
  RunElements(
      state, [&](const float*, float* y, size_t size) { Rope(y, cos.data(), sin.data(), size); },
      n);
}
BENCHMARK(BM_Rope)->ArgName("head_dim")->Arg(64)->Arg(128);

void BM_RopeAngles(benchmark::State& state) {
  const int64_t head_dim = state.range(0);
  const std::vector<float> frequencies = RopeInverseFrequencies({}, head_dim);
  std::vector<float> cos(frequencies.size()), sin(frequencies.size());
  int64_t position = 0;
  for (auto _ : state) {
    RopeAngles(frequencies, position++ % 2048, cos.data(), sin.data());
    benchmark::ClobberMemory();
  }
}
BENCHMARK(BM_RopeAngles)->ArgName("head_dim")->Arg(64)->Arg(128);

// A row of a matrix of each type, as embeddings are looked up and summed.
template <typename F>
void RunRows(benchmark::State& state, const F& f) {
  const auto dtype = static_cast<DType>(state.range(0));
  std::vector<std::byte> bytes(kN * SizeOf(dtype));
  Convert(Values(kN).data(), DType::kF32, bytes.data(), dtype, kN);
  const MatrixView matrix = {bytes.data(), dtype, 1, kN};
  RunElements(state, [&](const float*, float* y, size_t n) {
    std::memset(y, 0, n * sizeof(float));
    f(matrix, y);
  });
}

void BM_LoadRow(benchmark::State& state) {
  RunRows(state, [](const MatrixView& matrix, float* y) { LoadRow(matrix, 0, y); });
}
BENCHMARK(BM_LoadRow)->ArgName("dtype")->Arg(kF32)->Arg(kF16)->Arg(kBF16);

void BM_AddRow(benchmark::State& state) {
  RunRows(state, [](const MatrixView& matrix, float* y) { AddRow(matrix, 0, y); });
}
BENCHMARK(BM_AddRow)->ArgName("dtype")->Arg(kF32)->Arg(kF16)->Arg(kBF16);

// Arguments: from, to.
void BM_Convert(benchmark::State& state) {
  const auto from = static_cast<DType>(state.range(0)), to = static_cast<DType>(state.range(1));
  std::vector<std::byte> source(kN * SizeOf(from)), target(kN * SizeOf(to));
  Convert(Values(kN).data(), DType::kF32, source.data(), from, kN);
  RunElements(state, [&](const float*, float*, size_t n) {
    Convert(source.data(), from, target.data(), to, n);
  });
}
BENCHMARK(BM_Convert)
    ->ArgNames({"from", "to"})
    ->Args({kF32, kF16})
    ->Args({kF32, kBF16})
    ->Args({kF16, kF32})
    ->Args({kBF16, kF32})
    ->Args({kF16, kBF16})
    ->Args({kBF16, kF16});

}  // namespace
}  // namespace csm::kernels

// What the micro-benchmarks share: the threads, and the machine's own limits to compare with.
#ifndef CSM_BENCH_BENCH_MACHINE_H_
#define CSM_BENCH_BENCH_MACHINE_H_

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "csm/csm.hpp"

namespace csm::bench {

// Types of weights, as benchmarks take arguments.
inline constexpr int64_t kF32 = static_cast<int64_t>(DType::kF32);
inline constexpr int64_t kF16 = static_cast<int64_t>(DType::kF16);
inline constexpr int64_t kBF16 = static_cast<int64_t>(DType::kBF16);
inline constexpr int64_t kQ8 = static_cast<int64_t>(DType::kQ8_0);
inline constexpr int64_t kQ4 = static_cast<int64_t>(DType::kQ4);

struct Machine {
  Machine();
  ThreadPool pool;       ///< of CSM_BENCH_THREADS threads, default all cores
  double read_bytes;     ///< a second, from memory
  double mul_adds;       ///< a second, f32, in registers
  double int8_mul_adds;  ///< a second; 0 if this machine has only plain loops for them
};

/// Measured when first asked for.
Machine& TheMachine();

/// n numbers from -0.5 to 0.5.
std::vector<float> Values(size_t n);

/// Adds to the result its share of what the machine reaches: `of_read` of the memory bandwidth and
/// `of_fma` (or `of_int8`) of the multiply-adds, for what one iteration reads and computes.
void Report(benchmark::State& state, double bytes, double mul_adds, bool is_int8 = false);

}  // namespace csm::bench

#endif  // CSM_BENCH_BENCH_MACHINE_H_

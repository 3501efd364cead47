#include "kernels/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <span>
#include <vector>

#include "base/pages.h"

// Highway asks for this order.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/machine.cc"
#include "kernels/targets.h"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/load-inl.h"
#include "kernels/bf16_matmul.h"
#include "kernels/quantized_matmul.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace csm::kernels {
namespace HWY_NAMESPACE {

// Reads n floats as 8 streams, which gets a core more of the memory's bandwidth than one. The sum
// keeps the compiler from dropping the loads.
float ReadAll(const float* data, size_t n) {
  constexpr size_t kStreams = 8;
  VFElement sums[kStreams];
#pragma GCC unroll 8
  for (size_t k = 0; k < kStreams; ++k) sums[k] = hn::Zero(DF());
  const size_t length = n / kStreams;
  for (size_t i = 0; i + kLanes <= length; i += kLanes) {
#pragma GCC unroll 8
    for (size_t k = 0; k < kStreams; ++k) {
      sums[k] = hn::Add(sums[k], LoadF32(data + k * length + i));
    }
  }
  VF total = sums[0];
  for (size_t k = 1; k < kStreams; ++k) total = hn::Add(total, sums[k]);
  return SumLanes(total);
}

// Twelve independent chains: more than any processor's latency times its multiply-adds a cycle.
constexpr size_t kChains = 12;

float MulAddMany(size_t rounds, float factor, size_t& num_mul_adds) {
  const VF f = hn::Set(DF(), factor);
  VFElement sums[kChains];
#pragma GCC unroll 16
  for (size_t k = 0; k < kChains; ++k) sums[k] = hn::Set(DF(), static_cast<float>(k));
  for (size_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (size_t k = 0; k < kChains; ++k) sums[k] = hn::MulAdd(sums[k], f, f);
  }
  VF total = sums[0];
  for (size_t k = 1; k < kChains; ++k) total = hn::Add(total, sums[k]);
  num_mul_adds = rounds * kChains * kLanes;
  return SumLanes(total);
}

const char* TargetHere() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace csm::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace csm::kernels {
namespace {

HWY_EXPORT(ReadAll);
HWY_EXPORT(MulAddMany);
HWY_EXPORT(TargetHere);

// Seconds of the fastest of `repeats` runs; other programs can only slow a run down.
template <typename F>
double BestSeconds(int repeats, const F& f) {
  double best = 1e30;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    f();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count());
  }
  return best;
}

constexpr size_t kBytesRead = size_t{1} << 30;  // at least, for a bandwidth

std::atomic<float> sink;  // where results go that only keep the work alive

// Multiply-adds per second of all threads; `multiply` does a number of rounds and counts them.
template <typename Multiply>
double MeasureRate(ThreadPool& pool, const Multiply& multiply) {
  const size_t num_tasks = static_cast<size_t>(pool.num_threads());
  std::atomic<size_t> total{0};
  const double seconds = BestSeconds(40, [&] {  // of 2 ms: one of them finds all cores free
    total = 0;
    pool.ParallelFor(num_tasks, [&](size_t) {
      size_t count = 0;
      sink = multiply(1000 * 1000, count);
      total += count;
    });
  });
  return static_cast<double>(total) / seconds;
}

}  // namespace

const char* InstructionSet() { return HWY_DYNAMIC_DISPATCH(TargetHere)(); }

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

double MeasureReadBandwidth(ThreadPool& pool) {
  std::vector<float> data;
  data.reserve(kBytesRead / sizeof(float));
  // As the weights are: it reads 4 % faster so. Before the pages are there.
  UseHugePages(std::as_bytes(std::span(data.data(), data.capacity())));
  data.resize(kBytesRead / sizeof(float), 1.0f);
  const std::span<const std::byte> whole = std::as_bytes(std::span(data));
  return MeasureReadBandwidth({&whole, 1}, pool);
}

double MeasureReadBandwidth(std::span<const std::span<const std::byte>> memory, ThreadPool& pool) {
  constexpr size_t kTask = size_t{1} << 20;
  std::vector<std::span<const std::byte>> tasks;
  size_t pass = 0, total = 0;
  for (const auto& piece : memory) pass += piece.size();
  for (; total < kBytesRead && pass > 0; total += pass) {
    for (std::span<const std::byte> piece : memory) {
      for (; !piece.empty(); piece = piece.subspan(std::min(kTask, piece.size()))) {
        tasks.push_back(piece.first(std::min(kTask, piece.size())));
      }
    }
  }
  const double seconds = BestSeconds(5, [&] {
    pool.ParallelFor(tasks.size(), [&](size_t i) {
      // Bits of any kind: the sum is of no use.
      sink = HWY_DYNAMIC_DISPATCH(ReadAll)(reinterpret_cast<const float*>(tasks[i].data()),
                                           tasks[i].size() / sizeof(float));
    });
  });
  return static_cast<double>(total) / seconds;
}

double MeasureInt8Rate(ThreadPool& pool) {
  const QuantizedTarget& target = QuantizedTargets().front();
  if (target.multiply_many == nullptr) return 0;
  return MeasureRate(pool, [&](size_t rounds, size_t& count) {
    return static_cast<float>(target.multiply_many(rounds, count));
  });
}

double MeasureBf16Rate(ThreadPool& pool) {
  if (!HasBf16Products()) return 0;
  return MeasureRate(pool, MultiplyManyBf16);
}

double MeasureMulAddRate(ThreadPool& pool) {
  return MeasureRate(pool, [](size_t rounds, size_t& count) {
    return HWY_DYNAMIC_DISPATCH(MulAddMany)(rounds, 0.5f, count);
  });
}

}  // namespace csm::kernels
#endif  // HWY_ONCE

#include "bench_machine.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/machine.h"

namespace csm::bench {
namespace {

int NumThreads() {
  const char* wish = std::getenv("CSM_BENCH_THREADS");
  return wish != nullptr ? std::max(1, std::atoi(wish)) : NumUsableCores();
}

}  // namespace

Machine::Machine()
    : pool(NumThreads()),
      read_bytes(kernels::MeasureReadBandwidth(pool)),
      mul_adds(kernels::MeasureMulAddRate(pool)),
      int8_mul_adds(kernels::MeasureInt8Rate(pool)) {}

Machine& TheMachine() {
  static Machine machine;
  return machine;
}

std::vector<float> Values(size_t n) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i % 17) * 0.0625f - 0.5f;
  return values;
}

void Report(benchmark::State& state, double bytes, double mul_adds, bool is_int8) {
  using benchmark::Counter;
  const auto calls = static_cast<double>(state.iterations());
  const Machine& machine = TheMachine();
  state.counters["of_read"] = Counter(bytes * calls / machine.read_bytes, Counter::kIsRate);
  if (mul_adds == 0) return;
  const bool has_int8 = is_int8 && machine.int8_mul_adds > 0;
  const double peak = has_int8 ? machine.int8_mul_adds : machine.mul_adds;
  state.counters[has_int8 ? "of_int8" : "of_fma"] =
      Counter(mul_adds * calls / peak, Counter::kIsRate);
}

}  // namespace csm::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const auto& machine = csm::bench::TheMachine();
  benchmark::AddCustomContext("instruction_set", csm::kernels::InstructionSet());
  benchmark::AddCustomContext("threads", std::to_string(machine.pool.num_threads()));
  benchmark::AddCustomContext("read_GB_per_s", std::to_string(machine.read_bytes / 1e9));
  benchmark::AddCustomContext("fma_G_per_s", std::to_string(machine.mul_adds / 1e9));
  benchmark::AddCustomContext("int8_G_per_s", std::to_string(machine.int8_mul_adds / 1e9));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

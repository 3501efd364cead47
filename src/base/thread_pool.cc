#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <system_error>

#include "base/error.h"

namespace csm {
namespace {

// Between two jobs of a frame there are microseconds; a sleeping worker needs about 50 to wake. A
// worker therefore looks for work this long before it sleeps, and an idle process uses no CPU.
constexpr std::chrono::microseconds kSpinTime{200};

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns when `ready()` holds, or false after kSpinTime.
template <typename Ready>
bool SpinUntil(const Ready& ready) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      CpuRelax();
    }
    if (std::chrono::steady_clock::now() - start > kSpinTime) return false;
  }
}

// state_: job number (20 bits), closed (1 bit), workers in the job (11 bits). A worker that misses
// a job loses nothing, so the job number may wrap around.
constexpr uint32_t kOneWorker = 1;
constexpr uint32_t kWorkersMask = (1U << 11) - 1;
constexpr uint32_t kClosed = 1U << 11;
constexpr uint32_t kOneJob = 1U << 12;

constexpr uint32_t JobOf(uint32_t state) { return state / kOneJob; }

}  // namespace

ThreadPool::ThreadPool(int num_threads) : state_(kClosed) {
  try {
    for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { WorkerLoop(); });
  } catch (const std::system_error& error) {  // the system's limit of threads
    const size_t num_started = workers_.size() + 1;
    Stop();
    Fail<Error>("only {} of {} threads could be started: {}", num_started, num_threads,
                error.code().message());
  }
}

ThreadPool::~ThreadPool() { Stop(); }

void ThreadPool::Stop() {
  stop_.store(true);
  state_.fetch_add(kOneJob);  // still closed: wakes the workers without letting them enter
  state_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Work() {
  for (;;) {
    const size_t i = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (i >= num_tasks_) return;
    task_.call(task_.object, i);
  }
}

void ThreadPool::Run(size_t num_tasks, TaskRef task) {
  if (num_tasks == 0) return;
  bool expected = false;
  if (workers_.empty() || num_tasks == 1 ||
      !busy_.compare_exchange_strong(expected, true, std::memory_order_acquire)) {
    for (size_t i = 0; i < num_tasks; ++i) task.call(task.object, i);
    return;
  }
  num_tasks_ = num_tasks;
  task_ = task;
  next_task_.store(0, std::memory_order_relaxed);
  state_.store((JobOf(state_.load(std::memory_order_relaxed)) + 1) * kOneJob);
  if (num_sleeping_.load() > 0) state_.notify_all();
  Work();
  // Every task is taken. Only workers that took one are waited for: one that the system has not
  // given a core yet is not, which on a busy machine is the difference between work and waiting.
  state_.fetch_or(kClosed, std::memory_order_acq_rel);
  const auto all_left = [&] {
    return (state_.load(std::memory_order_acquire) & kWorkersMask) == 0;
  };
  while (!SpinUntil(all_left)) std::this_thread::yield();
  busy_.store(false, std::memory_order_release);
}

bool ThreadPool::TryEnter(uint32_t& seen_job) {
  uint32_t state = state_.load(std::memory_order_acquire);
  while ((state & kClosed) == 0 && JobOf(state) != seen_job) {
    if (state_.compare_exchange_weak(state, state + kOneWorker, std::memory_order_acq_rel)) {
      seen_job = JobOf(state);
      return true;
    }
  }
  return false;
}

void ThreadPool::WorkerLoop() {
  uint32_t seen_job = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (SpinUntil([&] { return TryEnter(seen_job); })) {
      Work();
      state_.fetch_sub(kOneWorker, std::memory_order_release);
      continue;
    }
    // Counting first and comparing second loses no wake-up: a job that starts in between has
    // changed state_, and wait() returns at once.
    num_sleeping_.fetch_add(1);
    const uint32_t state = state_.load();
    if ((state & kClosed) != 0 && !stop_.load()) state_.wait(state);
    num_sleeping_.fetch_sub(1);
  }
}

namespace {

// What a container's CPU quota (docker --cpus) comes to, rounded up; none: INT_MAX.
int QuotaOfCores() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");  // "200000 100000": microseconds, each period
  double quota = 0, period = 0;                // "max 100000" is no quota and stops the reading
  if (!(v2 >> quota >> period)) {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;  // -1 is no quota
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  if (quota <= 0 || period <= 0) return std::numeric_limits<int>::max();
  return static_cast<int>(std::ceil(quota / period));
}

}  // namespace

int NumUsableCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string siblings;
    std::ifstream(topology + "thread_siblings_list") >> siblings;
    cores.insert(siblings.empty() ? "cpu" + std::to_string(cpu) : siblings);
  }
  return std::max(1, std::min(static_cast<int>(cores.size()), QuotaOfCores()));
}

}  // namespace csm

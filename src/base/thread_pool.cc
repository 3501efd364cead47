#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <string>

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

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { WorkerLoop(); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  generation_.fetch_add(1);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Work(size_t num_tasks, const TaskRef& task) {
  for (;;) {
    const size_t i = next_task_.fetch_add(1, std::memory_order_relaxed);
    if (i >= num_tasks) return;
    task.call(task.object, i);
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
  num_working_.store(static_cast<uint32_t>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1);
  if (num_sleeping_.load() > 0) generation_.notify_all();
  Work(num_tasks, task);
  while (!SpinUntil([&] { return num_working_.load(std::memory_order_acquire) == 0; })) {
    std::this_thread::yield();
  }
  busy_.store(false, std::memory_order_release);
}

void ThreadPool::WorkerLoop() {
  uint32_t seen = 0;
  for (;;) {
    if (!SpinUntil([&] { return generation_.load(std::memory_order_acquire) != seen; })) {
      // Counting first and waiting on `seen` second loses no wake-up: a job that starts in between
      // has changed generation_, and wait() returns at once.
      num_sleeping_.fetch_add(1);
      generation_.wait(seen);
      num_sleeping_.fetch_sub(1);
    }
    if (stop_.load()) return;
    seen = generation_.load(std::memory_order_acquire);
    Work(num_tasks_, task_);
    num_working_.fetch_sub(1, std::memory_order_release);
  }
}

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
  return std::max(1, static_cast<int>(cores.size()));
}

}  // namespace csm

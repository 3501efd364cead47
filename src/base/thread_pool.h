// Threads that share the work of one caller at a time.
#ifndef CSM_BASE_THREAD_POOL_H_
#define CSM_BASE_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace csm {

/// num_threads counts the calling thread, so a pool of 1 starts no thread. ParallelFor may be
/// called from several threads at once: one of them gets the workers, the others compute alone, so
/// the cores are never oversubscribed and nobody waits for a lock. Tasks must not call ParallelFor
/// of the same pool expecting help; nested calls run alone. Tasks must not throw.
class ThreadPool {
 public:
  /// Throws Error if the system does not start that many.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls task(i) for every i in [0, num_tasks), each once, and returns when all have ended.
  /// Tasks are taken one by one, so a thread that the system holds up delays one task only.
  template <typename Task>
  void ParallelFor(size_t num_tasks, const Task& task) {
    Run(num_tasks, TaskRef{&task, [](const void* object, size_t i) {
                             (*static_cast<const Task*>(object))(i);
                           }});
  }

  /// The same, on the calling thread alone unless the work is worth waking others for.
  template <typename Task>
  void ParallelForIf(bool is_worth_it, size_t num_tasks, const Task& task) {
    if (is_worth_it) return ParallelFor(num_tasks, task);
    for (size_t i = 0; i < num_tasks; ++i) task(i);
  }

 private:
  struct TaskRef {
    const void* object = nullptr;
    void (*call)(const void* object, size_t i) = nullptr;
  };
  void Run(size_t num_tasks, TaskRef task);
  void Work();
  void WorkerLoop();
  void Stop();
  bool TryEnter(uint32_t& seen_job);

  // Where the threads meet, each word on a cache line of its own. state_ holds the number of the
  // current job, whether workers may still enter it, and how many are in it (thread_pool.cc).
  alignas(64) std::atomic<bool> busy_{false};  // a caller owns the workers
  alignas(64) std::atomic<uint32_t> state_;
  alignas(64) std::atomic<size_t> next_task_{0};
  alignas(64) std::atomic<uint32_t> num_sleeping_{0};
  std::atomic<bool> stop_{false};
  size_t num_tasks_ = 0;  // of the current job; constant while it is open or a worker is in it
  TaskRef task_;
  std::vector<std::thread> workers_;
};

/// Physical cores this process may run on: hyper-threads of one core count once, a container's CPU
/// quota counts. At least 1.
int NumUsableCores();

}  // namespace csm

#endif  // CSM_BASE_THREAD_POOL_H_

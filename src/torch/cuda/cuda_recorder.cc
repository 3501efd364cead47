// CUDA graphs. Both parts are one graph, in which an event marks the end of the first: the host
// waits for the codes of a frame alone, and has the time of the backbone's step for other work.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "csm/csm.hpp"
#include "torch/recorder.h"

namespace csm::train {
namespace {

// Before a recording: libraries choose kernels, load them and allocate in their first calls.
constexpr int kRehearsals = 2;

// What a process has once, as CUDA has it. A recording suffers no other beside it, and up to
// LibTorch 2.11 no playing either: one generator of random numbers takes part in all.
std::shared_mutex& Recording() {
  static std::shared_mutex mutex;
  return mutex;
}

/// Streams that live as long as the process and serve one recorder at a time: torch's own pool has
/// 32 and hands them out again while they are in use; new ones would leave a cuBLAS workspace each.
class Streams {
 public:
  c10::cuda::CUDAStream Take(c10::DeviceIndex device) {
    const std::lock_guard lock(mutex_);
    std::vector<cudaStream_t>& idle = idle_[device];
    cudaStream_t stream = nullptr;
    if (idle.empty()) {
      C10_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    } else {
      stream = idle.back();
      idle.pop_back();
    }
    return c10::cuda::getStreamFromExternal(stream, device);
  }
  void GiveBack(const c10::cuda::CUDAStream& stream) {
    const std::lock_guard lock(mutex_);
    idle_[stream.device_index()].push_back(stream.stream());
  }
  static Streams& Get() {
    static Streams streams;
    return streams;
  }

 private:
  std::mutex mutex_;
  std::map<c10::DeviceIndex, std::vector<cudaStream_t>> idle_;
};

class CudaRecorder final : public Recorder {
 public:
  /// The device is the current one.
  explicit CudaRecorder(c10::DeviceIndex device) : stream_(Streams::Get().Take(device)) {
    num_done_ = torch::zeros({1}, torch::dtype(torch::kInt64).device(torch::kCUDA, device));
    host_num_done_ = HostTensor({1}, torch::kInt64);
    C10_CUDA_CHECK(
        cudaEventCreateWithFlags(&first_is_done_, cudaEventDisableTiming | cudaEventBlockingSync));
  }
  ~CudaRecorder() override {
    const c10::cuda::CUDAGuard guard(stream_.device_index());
    C10_CUDA_CHECK_WARN(cudaStreamSynchronize(stream_));
    graph_.reset();
    C10_CUDA_CHECK_WARN(cudaEventDestroy(first_is_done_));
    Streams::Get().GiveBack(stream_);
  }

  torch::Tensor HostTensor(torch::IntArrayRef sizes, torch::ScalarType type) override {
    const c10::cuda::CUDAGuard guard(stream_.device_index());
    const auto bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * c10::elementSize(type);
    void* memory = nullptr;
    C10_CUDA_CHECK(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault));
    const auto free = [](void* pointer) { C10_CUDA_CHECK_WARN(cudaFreeHost(pointer)); };
    torch::Tensor tensor = torch::from_blob(memory, sizes, free, type);
    tensor.zero_();
    return tensor;
  }

  // Not Tensor::copy_: torch's own pinned memory is watched by events that a recording cannot have.
  void Copy(const torch::Tensor& from, const torch::Tensor& to) override {
    TORCH_CHECK(from.is_contiguous() && to.is_contiguous() && from.nbytes() == to.nbytes());
    C10_CUDA_CHECK(cudaMemcpyAsync(to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes(),
                                   cudaMemcpyDefault, stream_));
  }

  void Run(const Work& work) override {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    work();
    stream_.synchronize();
  }

  void Record(const Work& first, const Work& second) override {
    // What was made for this program by the caller's stream is there from here on.
    c10::cuda::getCurrentCUDAStream(stream_.device_index()).synchronize();
    const std::unique_lock lock(Recording());
    const c10::cuda::CUDAStreamGuard guard(stream_);
    for (int i = 0; i < kRehearsals; ++i) {
      first();
      second();
    }
    stream_.synchronize();
    // Thread-local: other threads may allocate meanwhile.
    graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      first();
      num_done_.add_(1);
      Copy(num_done_, host_num_done_);
      C10_CUDA_CHECK(cudaEventRecordWithFlags(first_is_done_, stream_, cudaEventRecordExternal));
      second();
    } catch (...) {
      EndFailedRecording();
      throw;
    }
    graph_.capture_end();
  }

  void PlayFirst() override {
    const std::shared_lock lock(Recording());
    const c10::cuda::CUDAStreamGuard guard(stream_);
    graph_.replay();
    ++num_played_;
  }

  // The event lets the thread sleep; the number that comes with the results is the proof, since
  // what a host's wait for an event within a graph means is not said for one that was just
  // launched.
  void WaitForFirst() override {
    const c10::cuda::CUDAGuard guard(stream_.device_index());
    C10_CUDA_CHECK(cudaEventSynchronize(first_is_done_));
    const volatile int64_t* const num_done = host_num_done_.const_data_ptr<int64_t>();
    while (*num_done != num_played_) {
      const bool is_over = stream_.query();  // throws if the device failed
      TORCH_CHECK(!is_over || *num_done == num_played_, "a CUDA graph ended without its results");
      std::this_thread::yield();
    }
    std::atomic_thread_fence(std::memory_order_acquire);
  }
  void PlaySecond() override {}  // it follows the first

 private:
  // Else the stream, and torch's allocator, would go on recording.
  void EndFailedRecording() {
    try {
      graph_.capture_end();
    } catch (const c10::Error&) {  // of the same cause
    }
  }

  c10::cuda::CUDAStream stream_;
  cudaEvent_t first_is_done_ = nullptr;
  at::cuda::CUDAGraph graph_;
  torch::Tensor num_done_, host_num_done_;  // first parts, counted by the graph
  int64_t num_played_ = 0;
};

}  // namespace
}  // namespace csm::train

extern "C" CSM_EXPORT csm::train::Recorder* csm_new_cuda_recorder(int device_index) {
  const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_index));
  return new csm::train::CudaRecorder(static_cast<c10::DeviceIndex>(device_index));
}

extern "C" CSM_EXPORT void csm_cuda_device_name(int device_index, char* name, size_t size) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  std::snprintf(name, size, "%s", properties.name);
}

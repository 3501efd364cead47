// CUDA graphs. Both parts are one graph, in which an event marks the end of the first: the host
// waits for the codes of a frame alone, and has the time of the backbone's step for the codec.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstdio>
#include <thread>

#include "csm/csm.hpp"
#include "torch/recorder.h"

namespace csm::train {
namespace {

// Before a recording: libraries choose kernels, load them and allocate in their first calls.
constexpr int kRehearsals = 2;

class CudaRecorder final : public Recorder {
 public:
  explicit CudaRecorder(c10::DeviceIndex device)
      : stream_(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device)) {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    C10_CUDA_CHECK(cudaEventCreateWithFlags(&first_is_done_, cudaEventDisableTiming));
    num_done_ = torch::zeros({1}, torch::dtype(torch::kInt64).device(torch::kCUDA, device));
    host_num_done_ = HostTensor({1}, torch::kInt64);
  }
  ~CudaRecorder() override {
    C10_CUDA_CHECK_WARN(cudaStreamSynchronize(stream_));
    C10_CUDA_CHECK_WARN(cudaEventDestroy(first_is_done_));
  }

  torch::Tensor HostTensor(torch::IntArrayRef sizes, torch::ScalarType type) override {
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
    C10_CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

  void Record(const Work& first, const Work& second) override {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    for (int i = 0; i < kRehearsals; ++i) {
      first();
      second();
    }
    C10_CUDA_CHECK(cudaStreamSynchronize(stream_));
    // Thread-local: other programs' threads may allocate meanwhile.
    graph_.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    first();
    num_done_.add_(1);
    Copy(num_done_, host_num_done_);
    C10_CUDA_CHECK(cudaEventRecordWithFlags(first_is_done_, stream_, cudaEventRecordExternal));
    second();
    graph_.capture_end();
  }

  void PlayFirst() override {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    graph_.replay();
    ++num_played_;
  }

  // The event lets the thread sleep; the number that comes with the results is the proof, since
  // what a host's wait for an event within a graph means is not said for one that was just
  // launched.
  void WaitForFirst() override {
    C10_CUDA_CHECK(cudaEventSynchronize(first_is_done_));
    const volatile int64_t* const num_done = host_num_done_.const_data_ptr<int64_t>();
    while (*num_done != num_played_) {
      const cudaError_t state = cudaStreamQuery(stream_);
      if (state != cudaErrorNotReady) C10_CUDA_CHECK(state);
      TORCH_CHECK(state == cudaErrorNotReady || *num_done == num_played_,
                  "a CUDA graph ended without its results");
      std::this_thread::yield();
    }
  }
  void PlaySecond() override {}  // it follows the first

 private:
  c10::cuda::CUDAStream stream_;
  cudaEvent_t first_is_done_ = nullptr;
  at::cuda::CUDAGraph graph_;
  torch::Tensor num_done_, host_num_done_;  // first parts, counted by the graph
  int64_t num_played_ = 0;
};

}  // namespace
}  // namespace csm::train

extern "C" CSM_EXPORT csm::train::Recorder* csm_new_cuda_recorder(int device_index) {
  return new csm::train::CudaRecorder(static_cast<c10::DeviceIndex>(device_index));
}

extern "C" CSM_EXPORT void csm_cuda_device_name(int device_index, char* name, size_t size) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  std::snprintf(name, size, "%s", properties.name);
}

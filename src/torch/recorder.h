// Device work that is recorded once and played again. On a GPU that is a CUDA graph: one launch
// instead of thousands, which take the processor longer to issue than the GPU to do.
#ifndef CSM_TORCH_RECORDER_H_
#define CSM_TORCH_RECORDER_H_

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace csm::train {

using Work = std::function<void()>;

/// Of one program, whose work has an order of its own: a stream. Not thread-safe.
class Recorder {
 public:
  Recorder() = default;
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  virtual ~Recorder() = default;

  /// A tensor in host memory that the device can copy from and to at any time. Of zeros.
  virtual torch::Tensor HostTensor(torch::IntArrayRef sizes, torch::ScalarType type) = 0;
  /// Copies between device and host tensors of one size and type, in order with the other work.
  virtual void Copy(const torch::Tensor& from, const torch::Tensor& to) = 0;

  /// Does work now, in order with what was played; when it returns, results may be read.
  virtual void Run(const Work& work) = 0;

  /// Both may be done, any number of times, when they are recorded. They must not ask the device
  /// for a value.
  virtual void Record(const Work& first, const Work& second) = 0;
  /// Starts the first part; the second follows at once where that costs the host nothing.
  virtual void PlayFirst() = 0;
  /// Until the first part is done.
  virtual void WaitForFirst() = 0;
  /// The second part, unless it is on its way.
  virtual void PlaySecond() = 0;
};

/// For the processor, work is done when it is asked for. Throws Error if a GPU's recorder (see
/// cuda/cuda_recorder.cc) is not in this build.
std::unique_ptr<Recorder> NewRecorder(const torch::Device& device);

/// The name of a GPU.
std::string CudaDeviceName(int device_index);

/// What libcsm_cuda.so exports, by these names. A recorder is the caller's; the name is written
/// into `size` characters.
using NewCudaRecorderFunction = Recorder*(int device_index);
inline constexpr const char* kNewCudaRecorderName = "csm_new_cuda_recorder";
using CudaDeviceNameFunction = void(int device_index, char* name, size_t size);
inline constexpr const char* kCudaDeviceNameName = "csm_cuda_device_name";

}  // namespace csm::train

#endif  // CSM_TORCH_RECORDER_H_

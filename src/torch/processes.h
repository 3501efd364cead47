// The processes that train one model together, each on its share of every batch.
#ifndef CSM_TORCH_PROCESSES_H_
#define CSM_TORCH_PROCESSES_H_

#include <torch/torch.h>

#include <memory>
#include <span>
#include <string>

namespace csm::train {

/// Alone, or joined by MPI or NCCL. What all must agree on is summed: every process gets the same
/// bits.
class Processes {
 public:
  virtual ~Processes() = default;
  virtual int rank() const = 0;  ///< 0 says, writes and decides for all
  virtual int size() const = 0;
  bool is_first() const { return rank() == 0; }

  /// Each value's sum over all processes, in place. Returns when every process has called it.
  virtual void Sum(std::span<double> values) = 0;
  /// The same for a tensor of f32, contiguous, on the device that this process trains on.
  virtual void Sum(const torch::Tensor& values) = 0;
  /// Returns when every process has called it.
  virtual void Wait() = 0;
  /// The first process's value.
  double FromFirst(double value) {
    double result = is_first() ? value : 0;
    Sum({&result, 1});
    return result;
  }
};

/// The device that this one of several processes on a machine is to use: of "cuda" the GPU of its
/// number. Throws Error if several are given one GPU.
std::string DeviceOfProcess(const std::string& device);

/// By the environment: processes that mpirun or torchrun started join; otherwise this one is alone.
/// `device` is this process's. Throws Error if this build, the device, or what started the
/// processes, does not allow it, and c10::Error if they do not meet.
std::unique_ptr<Processes> JoinProcesses(const std::string& device);

}  // namespace csm::train

#endif  // CSM_TORCH_PROCESSES_H_

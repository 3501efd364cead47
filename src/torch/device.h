// Where training computes.
#ifndef CSM_TORCH_DEVICE_H_
#define CSM_TORCH_DEVICE_H_

#include <torch/torch.h>

#include <string>

namespace csm::train {

/// "cpu", "cuda" or "cuda:N". LibTorch's CUDA library is loaded when it is asked for. Throws
/// ArgumentError for another name, Error if there is no such library or device.
torch::Device FindDevice(const std::string& name);

/// How LibTorch computes on CPUs from here on: on so many threads, and with the faster of its two
/// libraries for f32 products.
void SetUpCpu(int num_threads);

}  // namespace csm::train

#endif  // CSM_TORCH_DEVICE_H_

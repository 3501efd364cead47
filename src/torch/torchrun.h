// What torchrun tells the processes that it starts, in environment variables.
#ifndef CSM_TORCH_TORCHRUN_H_
#define CSM_TORCH_TORCHRUN_H_

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace csm::train {

/// Names as in PyTorch's documents ("torchrun (Elastic Launch)", environment variables).
struct Torchrun {
  int rank = 0, world_size = 1;
  int local_rank = 0;          ///< on this machine: the GPU to use
  std::string master_address;  ///< where the processes meet
  uint16_t master_port = 0;
  bool has_store = false;  ///< torchrun answers there itself; else the first process does
};

/// The value of a variable; empty: not set.
using Environment = std::function<std::string(const char* name)>;
std::string ProcessEnvironment(const char* name);

/// Nothing if torchrun did not start this process, or started it alone. Throws Error if a variable
/// is missing or is no such number.
std::optional<Torchrun> FindTorchrun(const Environment& environment);

/// Names and values that the processes share. Throws c10::Error if they do not meet in five
/// minutes.
c10::intrusive_ptr<c10d::Store> OpenStore(const Torchrun& torchrun);

}  // namespace csm::train

#endif  // CSM_TORCH_TORCHRUN_H_

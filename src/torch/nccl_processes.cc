#include "torch/nccl_processes.h"

#include "torch/cuda_library.h"

namespace csm::train {

std::unique_ptr<Processes> JoinNcclProcesses(const Torchrun& torchrun,
                                             const torch::Device& device) {
  const auto create = FindInCudaLibrary<NewNcclProcessesFunction>(kNewNcclProcessesName);
  const c10::intrusive_ptr<c10d::Store> store = OpenStore(torchrun);
  return std::unique_ptr<Processes>(
      create(torchrun.rank, torchrun.world_size, device.index(), *store));
}

}  // namespace csm::train

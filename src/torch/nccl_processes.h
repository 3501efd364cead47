// Processes joined by NCCL, each with a GPU.
#ifndef CSM_TORCH_NCCL_PROCESSES_H_
#define CSM_TORCH_NCCL_PROCESSES_H_

#include <memory>

#include "torch/processes.h"
#include "torch/torchrun.h"

namespace csm::train {

/// Throws Error if there is no such GPU or no CUDA in this build, c10::Error if the processes do
/// not meet.
std::unique_ptr<Processes> JoinNcclProcesses(const Torchrun& torchrun, const torch::Device& device);

/// What libcsm_cuda.so exports, by this name (cuda/nccl_processes.cc). The result is the caller's.
using NewNcclProcessesFunction = Processes*(int rank, int size, int device_index,
                                            c10d::Store& store);
inline constexpr const char* kNewNcclProcessesName = "csm_new_nccl_processes";

}  // namespace csm::train

#endif  // CSM_TORCH_NCCL_PROCESSES_H_

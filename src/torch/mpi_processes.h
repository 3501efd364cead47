// Processes joined by MPI.
#ifndef CSM_TORCH_MPI_PROCESSES_H_
#define CSM_TORCH_MPI_PROCESSES_H_

#include <memory>

#include "torch/processes.h"

namespace csm::train {

/// Throws Error in a build without MPI.
std::unique_ptr<Processes> JoinMpiProcesses();

}  // namespace csm::train

#endif  // CSM_TORCH_MPI_PROCESSES_H_

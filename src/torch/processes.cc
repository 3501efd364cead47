#include "torch/processes.h"

#include <optional>

#include "base/error.h"
#include "torch/device.h"
#include "torch/mpi_processes.h"
#include "torch/nccl_processes.h"
#include "torch/torchrun.h"

namespace csm::train {
namespace {

class Alone final : public Processes {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void Sum(std::span<double>) override {}
  void Sum(const torch::Tensor&) override {}
  void Wait() override {}
};

// Open MPI's and MPICH's number of processes; PMIx tells none.
bool IsStartedByMpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const auto size = ProcessEnvironment(name); !size.empty()) return size != "1";
  }
  return !ProcessEnvironment("PMIX_RANK").empty();
}

// Its number among the processes of this machine; nothing if it is alone, or that is not told.
std::string LocalRank() {
  if (!IsStartedByMpi()) {
    const auto torchrun = FindTorchrun(ProcessEnvironment);
    return torchrun ? std::to_string(torchrun->local_rank) : "";
  }
  const std::string open_mpi = ProcessEnvironment("OMPI_COMM_WORLD_LOCAL_RANK");
  return open_mpi.empty() ? ProcessEnvironment("MPI_LOCALRANKID") : open_mpi;
}

}  // namespace

std::string DeviceOfProcess(const std::string& device) {
  const std::string local_rank = LocalRank();
  if (local_rank.empty() || !device.starts_with("cuda")) return device;
  if (device != "cuda") {
    Fail<Error>(
        "device {}: each of several processes takes the GPU of its number; --device cuda, and "
        "CUDA_VISIBLE_DEVICES chooses among them",
        device);
  }
  return "cuda:" + local_rank;
}

std::unique_ptr<Processes> JoinProcesses(const std::string& device) {
  if (IsStartedByMpi()) return JoinMpiProcesses();
  const auto torchrun = FindTorchrun(ProcessEnvironment);
  if (!torchrun) return std::make_unique<Alone>();
  if (device == "cpu") {
    Fail<Error>(
        "torchrun started {0} processes, which meet over NCCL on GPUs: --device cuda; on CPUs "
        "processes meet over MPI: mpirun -n {0} csm train …",
        torchrun->world_size);
  }
  return JoinNcclProcesses(*torchrun, FindDevice(device));
}

}  // namespace csm::train

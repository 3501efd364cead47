#include "torch/processes.h"

#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "torch/mpi_processes.h"

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

std::string_view Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string_view() : value;
}

// Open MPI's and MPICH's number of processes; PMIx tells none.
bool IsStartedByMpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const auto size = Environment(name); !size.empty()) return size != "1";
  }
  return !Environment("PMIX_RANK").empty();
}

}  // namespace

std::unique_ptr<Processes> JoinProcesses() {
  if (IsStartedByMpi()) return JoinMpiProcesses();
  const std::string_view world_size = Environment("WORLD_SIZE");
  if (!Environment("RANK").empty() && !world_size.empty() && world_size != "1") {
    Fail<Error>(
        "torchrun started {} processes, which meet over NCCL on GPUs; this build trains on CPUs, "
        "where processes meet over MPI: mpirun -n {} csm train …",
        world_size, world_size);
  }
  return std::make_unique<Alone>();
}

}  // namespace csm::train

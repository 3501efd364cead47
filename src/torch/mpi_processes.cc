#include "torch/mpi_processes.h"

#include "base/error.h"

#ifdef CSM_MPI

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <thread>

namespace csm::train {
namespace {

class MpiProcesses final : public Processes {
 public:
  MpiProcesses() {
    MPI_Init(nullptr, nullptr);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  // A process that failed leaves without a word to the others: then mpirun ends them.
  ~MpiProcesses() override {
    if (std::uncaught_exceptions() == 0) MPI_Finalize();
  }
  MpiProcesses(const MpiProcesses&) = delete;
  MpiProcesses& operator=(const MpiProcesses&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void Sum(std::span<double> values) override {
    SumInPlace(values.data(), static_cast<int64_t>(values.size()), MPI_DOUBLE);
  }
  void Sum(const torch::Tensor& values) override {
    const torch::Tensor here = values.cpu();  // itself, unless a GPU trains
    SumInPlace(here.data_ptr<float>(), here.numel(), MPI_FLOAT);
    values.copy_(here);
  }
  // MPI's own waiting keeps a core busy, which the threads of slower processes may need.
  void Wait() override {
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    for (int is_done = 0; is_done == 0;) {
      MPI_Test(&request, &is_done, MPI_STATUS_IGNORE);
      if (is_done == 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  template <typename T>
  void SumInPlace(T* values, int64_t count, MPI_Datatype type) {
    Wait();
    constexpr int64_t kMost = int64_t{1} << 28;  // MPI counts in int
    for (int64_t first = 0; first < count; first += kMost) {
      const auto part = static_cast<int>(std::min(kMost, count - first));
      MPI_Allreduce(MPI_IN_PLACE, values + first, part, type, MPI_SUM, MPI_COMM_WORLD);
    }
  }

  int rank_ = 0, size_ = 1;
};

}  // namespace

std::unique_ptr<Processes> JoinMpiProcesses() { return std::make_unique<MpiProcesses>(); }

}  // namespace csm::train

#else

namespace csm::train {

std::unique_ptr<Processes> JoinMpiProcesses() {
  Fail<Error>(
      "mpirun started several processes, but this build is without MPI: install libopenmpi-dev "
      "(scripts/setup --torch does) and build again");
}

}  // namespace csm::train

#endif

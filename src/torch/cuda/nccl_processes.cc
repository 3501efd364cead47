// Sums over GPUs by NCCL, which LibTorch's CUDA library holds.
#include "torch/nccl_processes.h"

#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <array>
#include <exception>
#include <optional>
#include <vector>

#include "csm/csm.hpp"

// As in torch/csrc/cuda/nccl.h, which asks for the headers of all of CUDA's libraries. Were they
// not so any more, this library would not link.
namespace torch::cuda::nccl {

using ncclComm_t = void*;
struct ncclUniqueId {
  char internal[128];  // NOLINT(modernize-avoid-c-arrays)
};
void get_unique_id(ncclUniqueId& id);
ncclComm_t comm_init_rank(int nranks, const ncclUniqueId& comm_id, int rank);
void comm_destroy(ncclComm_t comm);
void all_reduce(const std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& outputs, int32_t op,
                const std::vector<std::optional<c10::cuda::CUDAStream>>& streams,
                const std::vector<ncclComm_t>& user_comms);

}  // namespace torch::cuda::nccl

namespace csm::train {
namespace {

namespace nccl = torch::cuda::nccl;

constexpr int32_t kSum = 0;  // ncclSum

// The first process makes the name of their meeting, the others read it.
nccl::ncclUniqueId AgreeOnId(bool is_first, c10d::Store& store) {
  constexpr const char* kKey = "csm/nccl";
  nccl::ncclUniqueId id{};
  if (is_first) {
    nccl::get_unique_id(id);
    store.set(kKey, std::vector<uint8_t>(std::begin(id.internal), std::end(id.internal)));
  } else {
    const std::vector<uint8_t> value = store.get(kKey);  // waits for it
    TORCH_CHECK(value.size() == sizeof(id.internal), "the first process is of another csm");
    std::copy(value.begin(), value.end(), std::begin(id.internal));
  }
  return id;
}

class NcclProcesses final : public Processes {
 public:
  NcclProcesses(int rank, int size, c10::DeviceIndex device, c10d::Store& store)
      : rank_(rank), size_(size), device_(device) {
    const c10::cuda::CUDAGuard guard(device_);
    communicator_ = nccl::comm_init_rank(size, AgreeOnId(rank == 0, store), rank);
  }
  // A process that failed leaves without a word to the others: then torchrun ends them.
  ~NcclProcesses() override {
    if (std::uncaught_exceptions() == 0) nccl::comm_destroy(communicator_);
  }
  NcclProcesses(const NcclProcesses&) = delete;
  NcclProcesses& operator=(const NcclProcesses&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void Sum(std::span<double> values) override {
    const auto count = static_cast<int64_t>(values.size());
    const torch::Tensor own = torch::from_blob(values.data(), {count}, torch::kFloat64);
    const torch::Tensor sum = own.to(torch::Device(torch::kCUDA, device_));
    SumInPlace(sum);
    own.copy_(sum);
  }
  void Sum(const torch::Tensor& values) override { SumInPlace(values); }
  void Wait() override {
    std::array<double, 1> nothing = {0};
    Sum(nothing);
  }

 private:
  // In order with what else the device does.
  void SumInPlace(const torch::Tensor& values) {
    const c10::cuda::CUDAGuard guard(device_);
    std::vector<torch::Tensor> outputs = {values};
    nccl::all_reduce(outputs, outputs, kSum, {c10::cuda::getCurrentCUDAStream(device_)},
                     {communicator_});
  }

  int rank_, size_;
  c10::DeviceIndex device_;
  nccl::ncclComm_t communicator_ = nullptr;
};

}  // namespace
}  // namespace csm::train

extern "C" CSM_EXPORT csm::train::Processes* csm_new_nccl_processes(int rank, int size,
                                                                    int device_index,
                                                                    c10d::Store& store) {
  return new csm::train::NcclProcesses(rank, size, static_cast<c10::DeviceIndex>(device_index),
                                       store);
}

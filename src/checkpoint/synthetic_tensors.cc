#include "checkpoint/synthetic_tensors.h"

#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/pages.h"
#include "base/philox.h"
#include "checkpoint/csm_tensors.h"
#include "kernels/half.h"
#include "kernels/matrix_view.h"

namespace csm::checkpoint {
namespace {

class SyntheticTensors final : public TensorStore {
 public:
  explicit SyntheticTensors(const CsmConfig& config) : path_("synthetic weights") {
    for (TensorSpec& spec : CsmTensors(config)) {
      if (config.tie_codebooks_embeddings && spec.name == kBackboneCodeEmbedding) continue;
      int64_t n = 1;
      for (const int64_t dim : spec.shape) n *= dim;
      Entry& entry = entries_[spec.name];
      const DType dtype = spec.name.starts_with(kCodecPrefix) ? DType::kF32 : DType::kBF16;
      entry.size = static_cast<size_t>(n) * kernels::SizeOf(dtype);
      entry.view = {spec.name, dtype, std::move(spec.shape), {}};
    }
  }
  ~SyntheticTensors() override {
    for (auto& [name, entry] : entries_) {
      if (!entry.view.bytes.empty()) munmap(Data(entry), entry.size);
    }
  }
  SyntheticTensors(const SyntheticTensors&) = delete;
  SyntheticTensors& operator=(const SyntheticTensors&) = delete;

  const TensorView* Find(std::string_view name) const override {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return nullptr;
    if (found->second.view.bytes.empty()) Fill(found->second);
    return &found->second.view;
  }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }
  void Release(const TensorView& tensor) const override { ReleasePages(tensor.bytes); }
  const std::filesystem::path& path() const override { return path_; }

 private:
  struct Entry {
    TensorView view;
    size_t size = 0;
  };
  static void* Data(const Entry& entry) { return const_cast<std::byte*>(entry.view.bytes.data()); }

  void Fill(Entry& entry) const {
    void* data =
        mmap(nullptr, entry.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) Fail<Error>("out of memory for {}", entry.view.name);
    entry.view.bytes = {static_cast<const std::byte*>(data), entry.size};
    UseHugePages(entry.view.bytes);
    const size_t n = entry.size / kernels::SizeOf(entry.view.dtype);
    const bool is_vector = entry.view.shape.size() < 2;
    if (entry.view.dtype == DType::kF32) {
      FillValues(static_cast<uint32_t*>(data), n, is_vector);
    } else {
      FillValues(static_cast<uint16_t*>(data), n, is_vector);
    }
  }

  // Ones, or numbers of random sign between 2^-6 and 2^-5; `T` holds the upper bits of a float.
  template <typename T>
  static void FillValues(T* values, size_t n, bool is_ones) {
    constexpr int kShift = 8 * (sizeof(T) - sizeof(uint16_t));
    if (is_ones) {
      std::fill_n(values, n, static_cast<T>(T{kernels::ToBF16(1.0F).bits} << kShift));
      return;
    }
    // Sign and mantissa at random; a fast generator, since there are 10^9 of them.
    uint64_t state = Philox4x32(n, {1, 2, 3, 4})[0] | 1U;
    for (size_t i = 0; i < n; ++i) {
      state = state * 6364136223846793005U + 1442695040888963407U;
      constexpr uint16_t kExponent = (127 - 6) << 7;
      values[i] = static_cast<T>((state >> 48 & 0x807FU) | kExponent) << kShift;
    }
  }

  std::filesystem::path path_;
  mutable std::map<std::string, Entry, std::less<>> entries_;  // filled when asked for
};

}  // namespace

CsmCheckpoint MakeSyntheticCheckpoint(const CsmConfig& config) {
  CsmCheckpoint checkpoint;
  checkpoint.dir = "synthetic weights";
  checkpoint.config = config;
  checkpoint.tensors = std::make_shared<SyntheticTensors>(config);
  const std::string backbone =
      config.tie_codebooks_embeddings ? kDepthCodeEmbedding : kBackboneCodeEmbedding;
  checkpoint.code_embeddings = {backbone, kDepthCodeEmbedding};
  return checkpoint;
}

}  // namespace csm::checkpoint

// Tensors made up by a test, handed out as a checkpoint's would be.
#ifndef CSM_MIMI_TEST_WEIGHTS_H_
#define CSM_MIMI_TEST_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/tensor_store.h"

namespace csm::mimi {

/// f32 tensors in memory. Add all before the store is read.
class TestWeights : public checkpoint::TensorStore {
 public:
  /// Adds a tensor and returns its values; the reference stays valid.
  const std::vector<float>& Add(const std::string& name, std::vector<int64_t> shape,
                                std::vector<float> values) {
    Tensor& tensor = tensors_[name];
    tensor.values = std::move(values);
    tensor.view = {name, DType::kF32, std::move(shape), std::as_bytes(std::span(tensor.values))};
    return tensor.values;
  }

  /// Adds a tensor of uniform random values in [-scale, scale).
  const std::vector<float>& AddRandom(const std::string& name, std::vector<int64_t> shape,
                                      float scale = 1) {
    size_t n = 1;
    for (const int64_t size : shape) n *= static_cast<size_t>(size);
    return Add(name, std::move(shape), Random(n, scale));
  }

  std::vector<float> Random(size_t n, float scale = 1) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    std::vector<float> values(n);
    for (float& value : values) value = uniform(random_);
    return values;
  }

  const checkpoint::TensorView* Find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second.view;
  }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors_) names.push_back(name);
    return names;
  }
  void Release(const checkpoint::TensorView&) const override {}
  const std::filesystem::path& path() const override { return path_; }

 private:
  struct Tensor {
    std::vector<float> values;
    checkpoint::TensorView view;
  };
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::filesystem::path path_ = "test";
  std::mt19937 random_{7};
};

}  // namespace csm::mimi

#endif  // CSM_MIMI_TEST_WEIGHTS_H_

#include "checkpoint/mapped_tensors.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "checkpoint/safetensors_header.h"

namespace csm::checkpoint {

void SortByName(std::vector<TensorView>& tensors, std::string_view source) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  const auto twin =
      std::adjacent_find(tensors.begin(), tensors.end(),
                         [](const TensorView& a, const TensorView& b) { return a.name == b.name; });
  if (twin != tensors.end()) {
    Fail<FormatError>("{}: there are two tensors named {}", source, QuoteName(twin->name));
  }
}

const TensorView* FindByName(std::span<const TensorView> sorted, std::string_view name) {
  const auto found = std::lower_bound(
      sorted.begin(), sorted.end(), name,
      [](const TensorView& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found != sorted.end() && found->name == name ? &*found : nullptr;
}

const TensorView* MappedTensors::Find(std::string_view name) const {
  return FindByName(tensors_, name);
}

std::vector<std::string> MappedTensors::Names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const TensorView& tensor : tensors_) names.push_back(tensor.name);
  return names;
}

void MappedTensors::Set(std::vector<TensorView> tensors) {
  tensors_ = std::move(tensors);
  file_.Release(file_.bytes());
}

}  // namespace csm::checkpoint

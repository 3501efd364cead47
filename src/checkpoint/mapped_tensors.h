// The tensors of one mapped file, whatever its format.
#ifndef CSM_CHECKPOINT_MAPPED_TENSORS_H_
#define CSM_CHECKPOINT_MAPPED_TENSORS_H_

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "checkpoint/tensor_store.h"

namespace csm::checkpoint {

/// Sorts by name. Throws FormatError that starts with `source` if two have the same.
void SortByName(std::vector<TensorView>& tensors, std::string_view source);

/// Of tensors sorted by name; null if there is none.
const TensorView* FindByName(std::span<const TensorView> sorted, std::string_view name);

/// A format's class maps the file, and sets the tensors in its constructor.
class MappedTensors : public TensorStore {
 public:
  const TensorView* Find(std::string_view name) const override;
  std::vector<std::string> Names() const override;
  void Release(const TensorView& tensor) const override { file_.Release(tensor.bytes); }
  const std::filesystem::path& path() const override { return file_.path(); }

 protected:
  explicit MappedTensors(const std::filesystem::path& path) : file_(path) {}
  const MappedFile& file() const { return file_; }
  /// `tensors` are sorted by name. The pages read so far, those of the header, may leave memory.
  void Set(std::vector<TensorView> tensors);

 private:
  MappedFile file_;
  std::vector<TensorView> tensors_;
};

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_MAPPED_TENSORS_H_

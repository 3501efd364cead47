#include "checkpoint/tensor_store.h"

#include <algorithm>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/gguf.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_header.h"

namespace csm::checkpoint {
namespace {

namespace fs = std::filesystem;

// The tensors of several files under one roof.
class ShardedTensors final : public TensorStore {
 public:
  explicit ShardedTensors(fs::path index) : index_(std::move(index)) {}

  void Add(std::unique_ptr<SafetensorsFile> shard) {
    for (const std::string& name : shard->Names()) {
      const auto [other, added] = owners_.emplace(name, shard.get());
      if (!added) {
        Fail<FormatError>("{}: tensor {} is in both {} and {}", index_.string(), QuoteName(name),
                          other->second->path().filename().string(),
                          shard->path().filename().string());
      }
    }
    shards_.push_back(std::move(shard));
  }

  const TensorView* Find(std::string_view name) const override {
    const auto owner = owners_.find(name);
    return owner == owners_.end() ? nullptr : owner->second->Find(name);
  }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    names.reserve(owners_.size());
    for (const auto& [name, shard] : owners_) names.push_back(name);
    return names;
  }
  void Release(const TensorView& tensor) const override {
    if (const auto owner = owners_.find(tensor.name); owner != owners_.end()) {
      owner->second->Release(tensor);
    }
  }
  const fs::path& path() const override { return index_; }
  const SafetensorsFile* Owner(const std::string& name) const {
    const auto owner = owners_.find(name);
    return owner == owners_.end() ? nullptr : owner->second;
  }

 private:
  fs::path index_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::map<std::string, const SafetensorsFile*, std::less<>> owners_;
};

// A file that a config or index names must lie inside the folder: a downloaded checkpoint has no
// business with other files.
fs::path FileInside(const fs::path& dir, const std::string& name, const std::string& source) {
  const fs::path relative(name);
  const bool escapes = std::find(relative.begin(), relative.end(), "..") != relative.end();
  if (name.empty() || name.find('\0') != name.npos || relative.is_absolute() || escapes) {
    Fail<FormatError>("{} names the file {}, expected a file inside its own folder", source,
                      QuoteName(name));
  }
  return dir / relative;
}

std::shared_ptr<const TensorStore> OpenIndex(const fs::path& index_path) {
  const std::string source = index_path.string();
  const Json index = ReadConfigJson(index_path, kMaxIndexBytes);
  const auto weight_map = index.find("weight_map");
  if (weight_map == index.end() || !weight_map->is_object()) {
    Fail<FormatError>("{} has no object named weight_map", source);
  }
  std::map<std::string, std::vector<std::string>> names_by_file;
  for (const auto& [name, file] : weight_map->items()) {
    if (!file.is_string()) {
      Fail<FormatError>("{}: weight_map of {} is {}, expected a file name", source, QuoteName(name),
                        JsonTypeName(file));
    }
    names_by_file[file.get<std::string>()].push_back(name);
  }
  auto store = std::make_shared<ShardedTensors>(index_path);
  for (const auto& [file, names] : names_by_file) {
    auto shard =
        std::make_unique<SafetensorsFile>(FileInside(index_path.parent_path(), file, source));
    for (const std::string& name : names) {
      if (shard->Find(name) == nullptr) {
        Fail<FormatError>("{} says that tensor {} is in {}, but it is not", source, QuoteName(name),
                          file);
      }
    }
    store->Add(std::move(shard));
  }
  return store;
}

std::shared_ptr<const TensorStore> OpenFile(const fs::path& path) {
  if (path.string().ends_with(".index.json")) return OpenIndex(path);
  return std::make_shared<SafetensorsFile>(path);
}

// Sesame's own file (torchtune names) as first published: the codebook heads are one bare tensor.
bool IsSesameLayout(const TensorStore& store) {
  return store.Find("codebook0_head.weight") != nullptr ||
         (store.Find("audio_head") != nullptr && store.Find("audio_embeddings.weight") != nullptr);
}

std::optional<fs::path> WeightsNamedByConfig(const fs::path& dir) {
  const fs::path path = dir / "config.json";
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  const Json config = ReadConfigJson(path);
  const auto name = config.find("transformers_weights");
  if (name == config.end() || name->is_null()) return {};
  if (!name->is_string()) {
    Fail<FormatError>("{}: transformers_weights is {}, expected a file name", path.string(),
                      JsonTypeName(*name));
  }
  return FileInside(dir, name->get<std::string>(), path.string() + ": transformers_weights");
}

[[noreturn]] void FailWithoutWeights(const fs::path& dir) {
  std::error_code error;
  if (!fs::is_directory(dir, error)) {
    Fail<FileError>("{} is not a folder, expected the folder of a checkpoint", dir.string());
  }
  for (const char* torch_file : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (fs::exists(dir / torch_file, error)) {
      Fail<FileError>("{} has its weights as {}, only safetensors files are read", dir.string(),
                      torch_file);
    }
  }
  for (const auto& entry : fs::directory_iterator(dir, error)) {
    if (entry.path().extension() != ".gguf") continue;
    Fail<FileError>("{} has no safetensors weights; to use {}, give the file itself", dir.string(),
                    entry.path().filename().string());
  }
  Fail<FileError>("{} has no weights, expected model.safetensors or model.safetensors.index.json",
                  dir.string());
}

}  // namespace

std::shared_ptr<const TensorStore> OpenTensors(const std::filesystem::path& dir) {
  std::error_code error;
  if (fs::is_regular_file(dir, error)) return std::make_shared<GgufFile>(dir);
  // A folder may hold Sesame's own file under the usual name beside transformers' shards, as the
  // published csm-1b does; then the other names still count.
  const fs::path candidates[] = {dir / "model.safetensors", dir / "model.safetensors.index.json",
                                 dir / "transformers.safetensors.index.json"};
  const std::optional<fs::path> named = WeightsNamedByConfig(dir);
  std::optional<fs::path> sesame;
  for (const fs::path& path : named ? std::span(&*named, 1) : std::span(candidates)) {
    if (!named && !fs::exists(path, error)) continue;
    std::shared_ptr<const TensorStore> store = OpenFile(path);
    if (!IsSesameLayout(*store)) return store;
    if (!sesame) sesame = path;
  }
  if (!sesame) FailWithoutWeights(dir);
  Fail<FormatError>(
      "{} is in Sesame's original layout, expected the layout of Hugging Face transformers "
      "(the same model as saved by CsmForConditionalGeneration.save_pretrained)",
      sesame->string());
}

}  // namespace csm::checkpoint

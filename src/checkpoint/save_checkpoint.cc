#include <algorithm>
#include <system_error>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/json_file.h"
#include "checkpoint/model_dir.h"
#include "checkpoint/safetensors.h"
#include "kernels/matrix_view.h"

namespace csm::checkpoint {
namespace {

constexpr char kInitializedSuffix[] = ".codebook.initialized";

std::string_view TorchName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF16:
      return "float16";
    default:
      return "bfloat16";
  }
}

size_t ElementSize(const TensorToWrite& item) {
  return item.tensor->other_dtype.empty() ? kernels::SizeOf(item.dtype) : 1;
}

// What transformers writes: tied embeddings once, the codec's `initialized` flags as they are.
std::vector<TensorToWrite> TensorsToSave(const CsmCheckpoint& checkpoint,
                                         std::optional<DType> dtype) {
  std::vector<TensorToWrite> tensors;
  for (const std::string& name : checkpoint.tensors->Names()) {
    if (IsIgnoredTensor(name) && !name.ends_with(kInitializedSuffix)) continue;
    if (IsSpareEmbedding(checkpoint.code_embeddings, name)) continue;
    const TensorView* tensor = checkpoint.tensors->FindShape(name);
    const bool is_converted = dtype && IsModelMatrix(*tensor);
    tensors.push_back({tensor, is_converted ? *dtype : tensor->dtype});
  }
  // Wide elements first, so that every tensor is aligned to its element; then by name.
  std::stable_sort(tensors.begin(), tensors.end(),
                   [](const TensorToWrite& a, const TensorToWrite& b) {
                     return ElementSize(a) > ElementSize(b);
                   });
  return tensors;
}

// Of the checkpoint that this one was made from, if it was made from one.
Json OriginalJson(const CsmCheckpoint& checkpoint, const char* name) {
  if (checkpoint.dir.empty()) return Json::object();
  return ReadOptionalConfigJson(checkpoint.dir / name);
}

Json ConfigToSave(const CsmCheckpoint& checkpoint, std::optional<DType> dtype) {
  const Json original = OriginalJson(checkpoint, "config.json");
  Json json = ToJson(checkpoint.config);
  KeepUnknownKeys(original, json);
  const auto torch_dtype = original.find("torch_dtype");  // transformers 4's name of dtype
  if (dtype) {
    json["dtype"] = TorchName(*dtype);
  } else if (!json.contains("dtype") && torch_dtype != original.end()) {
    json["dtype"] = *torch_dtype;
  } else if (!json.contains("dtype")) {
    json["dtype"] = TorchName(checkpoint.tensors->FindShape("lm_head.weight")->dtype);
  }
  return json;
}

}  // namespace

void SaveCsmCheckpoint(const CsmCheckpoint& checkpoint, const std::filesystem::path& dir,
                       std::optional<DType> dtype, const ByteProgress& progress) {
  if (checkpoint.tensors->HasTransposedHeads()) {
    Fail<ArgumentError>(
        "{} is a GGUF file and cannot be saved as safetensors: save the checkpoint that it was "
        "made "
        "from",
        checkpoint.dir.string());
  }
  const Json config = ConfigToSave(checkpoint, dtype);
  Json generation = ToJson(checkpoint.generation_config);
  KeepUnknownKeys(OriginalJson(checkpoint, "generation_config.json"), generation);
  MakeFolder(dir);
  WriteSafetensors(dir / "model.safetensors", TensorsToSave(checkpoint, dtype),
                   checkpoint.tensors.get(), {{"format", "pt"}}, progress);
  WriteConfigJson(dir, "generation_config.json", generation);
  WriteConfigJson(dir, "config.json", config);
}

}  // namespace csm::checkpoint

// A folder with a checkpoint in Hugging Face form, opened and checked.
#ifndef CSM_CHECKPOINT_MODEL_DIR_H_
#define CSM_CHECKPOINT_MODEL_DIR_H_

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "checkpoint/tensor_store.h"
#include "csm/csm.hpp"

namespace csm::checkpoint {

/// The tensors that embed codes: one and the same if they are tied, whichever name is stored.
struct CodeEmbeddingNames {
  std::string backbone;
  std::string depth_decoder;
};

/// A CSM checkpoint whose tensors all have been found and have the shapes that its config asks for.
struct CsmCheckpoint {
  std::filesystem::path dir;
  CsmConfig config;
  GenerationConfig generation_config;
  std::shared_ptr<const TensorStore> tensors;
  CodeEmbeddingNames code_embeddings;
};

/// Whether a tensor need not be saved: a code embedding whose twin serves for both.
bool IsSpareEmbedding(const CodeEmbeddingNames& used, std::string_view name);

/// Opens a model (see ResolveModelDir) and compares its tensors with the config. Throws FileError
/// or FormatError that names every missing, extra or misshapen tensor (the first 1,000, then a
/// count). `adapter`: a folder whose low-rank terms are added (adapter.h).
CsmCheckpoint OpenCsmCheckpoint(const std::filesystem::path& path,
                                const std::optional<std::filesystem::path>& adapter = {});

/// The precision of products with a model's matrices. Throws ArgumentError if what `options` ask
/// for is not offered.
Precision PrecisionOf(const CsmCheckpoint& checkpoint, const LoadOptions& options);

/// The codec of a model: of a CSM checkpoint (tensors under "codec_model.") or a Mimi one (no
/// prefix).
struct MimiCheckpoint {
  MimiConfig config;
  std::string prefix;  ///< of every tensor name
  std::shared_ptr<const TensorStore> tensors;
};
MimiCheckpoint OpenMimiCheckpoint(const std::filesystem::path& path);
MimiCheckpoint CodecOf(const CsmCheckpoint& checkpoint);

/// Writes DIR/model.safetensors, generation_config.json and config.json so that transformers loads
/// the same model: weights as stored, or as WeightLoader converts them to `dtype` (matrices outside
/// the codec), so that what is saved computes what the loaded model does; keys that this library
/// does not know are kept from the checkpoint's own files. Streams, so memory stays small; each
/// file appears whole or not at all, config.json last. DIR may be the checkpoint's own. `progress`
/// is told bytes written so far and in all. Throws FileError, or what `progress` throws.
void SaveCsmCheckpoint(const CsmCheckpoint& checkpoint, const std::filesystem::path& dir,
                       std::optional<DType> dtype = std::nullopt,
                       const ByteProgress& progress = {});

/// A model by path, a folder or a GGUF file, or by name ("sesame/csm-1b") in the Hugging Face cache
/// (HF_HUB_CACHE, HF_HOME,
/// ~/.cache/huggingface/hub), as every from_pretrained takes. Throws FileError that says where was
/// looked.
std::filesystem::path ResolveModelDir(const std::filesystem::path& path);

/// What people call the model at a path that ResolveModelDir gave: "sesame/csm-1b" in the Hugging
/// Face cache, else the name of the folder or file.
std::string ModelName(const std::filesystem::path& dir);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_MODEL_DIR_H_

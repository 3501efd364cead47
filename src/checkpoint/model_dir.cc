#include "checkpoint/model_dir.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "checkpoint/adapter.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/generation_json.h"
#include "checkpoint/json_file.h"
#include "kernels/matrix_view.h"

namespace csm::checkpoint {
namespace {

bool SameValues(const TensorStore& store, const TensorView& a, const TensorView& b) {
  if (a.dtype != b.dtype || a.bytes.size() != b.bytes.size()) return false;
  // Compared in pieces, so that the two (0.5 GB each in csm-1b) are never resident as a whole.
  constexpr size_t kPieceBytes = size_t{8} << 20;
  for (size_t begin = 0; begin < a.bytes.size(); begin += kPieceBytes) {
    const size_t size = std::min(kPieceBytes, a.bytes.size() - begin);
    TensorView piece_a = a;
    TensorView piece_b = b;
    piece_a.bytes = a.bytes.subspan(begin, size);
    piece_b.bytes = b.bytes.subspan(begin, size);
    const bool same = std::memcmp(piece_a.bytes.data(), piece_b.bytes.data(), size) == 0;
    store.Release(piece_a);
    store.Release(piece_b);
    if (!same) return false;
  }
  return true;
}

// HF's rule for tied embeddings: the one that is there serves both; if both are there, they are
// tied only if they are equal.
CodeEmbeddingNames FindCodeEmbeddings(const CsmConfig& config, const TensorStore& store) {
  const TensorView* backbone = store.Find(kBackboneCodeEmbedding);
  const TensorView* depth = store.Find(kDepthCodeEmbedding);
  if (!config.tie_codebooks_embeddings) return {kBackboneCodeEmbedding, kDepthCodeEmbedding};
  if (depth == nullptr && backbone != nullptr) {
    return {kBackboneCodeEmbedding, kBackboneCodeEmbedding};
  }
  if (depth != nullptr && backbone != nullptr && !SameValues(store, *backbone, *depth)) {
    return {kBackboneCodeEmbedding, kDepthCodeEmbedding};
  }
  return {kDepthCodeEmbedding, kDepthCodeEmbedding};
}

std::vector<TensorSpec> StoredTensors(const CsmConfig& config, const TensorStore& store) {
  std::vector<TensorSpec> specs = CsmTensors(config);
  if (store.HasTransposedHeads()) {
    for (TensorSpec& spec : specs) {
      if (spec.name == kCodebooksHead) std::swap(spec.shape[1], spec.shape[2]);
    }
  }
  if (!config.tie_codebooks_embeddings) return specs;
  const bool has_backbone = store.Find(kBackboneCodeEmbedding) != nullptr;
  const bool has_depth = store.Find(kDepthCodeEmbedding) != nullptr;
  std::erase_if(specs, [&](const TensorSpec& spec) {
    return (spec.name == kBackboneCodeEmbedding && !has_backbone) ||
           (spec.name == kDepthCodeEmbedding && !has_depth && has_backbone);
  });
  return specs;
}

}  // namespace

bool IsSpareEmbedding(const CodeEmbeddingNames& used, std::string_view name) {
  return (name == kBackboneCodeEmbedding || name == kDepthCodeEmbedding) && name != used.backbone &&
         name != used.depth_decoder;
}

CsmCheckpoint OpenCsmCheckpoint(const std::filesystem::path& path,
                                const std::optional<std::filesystem::path>& adapter) {
  CsmCheckpoint checkpoint;
  const std::filesystem::path dir = checkpoint.dir = ResolveModelDir(path);
  checkpoint.config = CsmConfig::from_pretrained(dir);
  checkpoint.generation_config = ReadGenerationConfig(dir, checkpoint.config.num_codebooks);
  checkpoint.tensors = OpenTensors(dir);
  CheckTensors(*checkpoint.tensors, StoredTensors(checkpoint.config, *checkpoint.tensors));
  checkpoint.code_embeddings = FindCodeEmbeddings(checkpoint.config, *checkpoint.tensors);
  return adapter ? WithAdapter(std::move(checkpoint), ReadAdapter(*adapter)) : checkpoint;
}

MimiCheckpoint OpenMimiCheckpoint(const std::filesystem::path& path) {
  const std::filesystem::path dir = ResolveModelDir(path);
  const std::string file = (dir / "config.json").string();
  const Json json = ReadConfigJson(file);
  MimiCheckpoint checkpoint;
  const auto model_type = json.find("model_type");
  if (model_type != json.end() && *model_type == "mimi") {
    checkpoint.config = ParseMimiConfig(json, file);
  } else {
    checkpoint.config = ParseCsmConfig(json, file).codec_config;
    checkpoint.prefix = kCodecPrefix;
  }
  checkpoint.tensors = OpenTensors(dir);
  CheckTensors(*checkpoint.tensors, MimiTensors(checkpoint.config, checkpoint.prefix),
               checkpoint.prefix);
  return checkpoint;
}

Precision PrecisionOf(const CsmCheckpoint& checkpoint, const LoadOptions& options) {
  const TensorView* lm_head = checkpoint.tensors->Find("lm_head.weight");
  const bool is_quantized = kernels::IsQuantized(
      options.dtype.value_or(lm_head == nullptr ? DType::kF32 : lm_head->dtype));
  if (is_quantized && options.precision == Precision::kExact) {
    Fail<ArgumentError>(
        "precision exact is not offered for quantized weights: ask for fast, or for a dtype of "
        "f32, f16 or bf16");
  }
  return options.precision.value_or(is_quantized ? Precision::kFast : Precision::kExact);
}

MimiCheckpoint CodecOf(const CsmCheckpoint& checkpoint) {
  return {checkpoint.config.codec_config, kCodecPrefix, checkpoint.tensors};
}

}  // namespace csm::checkpoint

// The tensors that a config asks for, by HF's names.
#ifndef CSM_CHECKPOINT_CSM_TENSORS_H_
#define CSM_CHECKPOINT_CSM_TENSORS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/tensor_store.h"
#include "csm/csm.hpp"

namespace csm::checkpoint {

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
};

/// The two names of the code embedding. A checkpoint with tied embeddings may hold either or both.
inline constexpr char kBackboneCodeEmbedding[] =
    "backbone_model.embed_tokens.embed_audio_tokens.weight";
inline constexpr char kDepthCodeEmbedding[] = "depth_decoder.model.embed_tokens.weight";
inline constexpr char kCodebooksHead[] = "depth_decoder.codebooks_head.weight";
/// Of every codec tensor in a CSM checkpoint.
inline constexpr char kCodecPrefix[] = "codec_model.";

/// Every tensor of a whole model, both code embeddings included, in the order of HF's modules.
std::vector<TensorSpec> CsmTensors(const CsmConfig& config);
/// Every tensor of the codec; names start with `prefix`.
std::vector<TensorSpec> MimiTensors(const MimiConfig& config, const std::string& prefix);

/// Tensors that may be there or not and are never read: the codec's `initialized` flags (of any
/// type and shape) and RoPE tables, which older versions of transformers stored.
bool IsIgnoredTensor(std::string_view name);

/// Whether a dtype asked for applies to a tensor: the matrices outside the codec. Norms and biases
/// are used in f32.
bool IsModelMatrix(const TensorView& tensor);

/// Whether it is a matrix or a kernel of the codec's decoder: f16 in a quantized model. The encoder
/// stays as stored, so that recordings keep their codes.
bool IsCodecDecoderMatrix(const TensorView& tensor);

/// Compares `store` with `specs`. Throws FormatError naming every missing, extra, misshapen or
/// unreadable tensor, the first 1,000, then a count. Tensors whose name does not start with
/// `prefix` are not extra, but none of our business.
void CheckTensors(const TensorStore& store, const std::vector<TensorSpec>& specs,
                  const std::string& prefix = {});

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_CSM_TENSORS_H_

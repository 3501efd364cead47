// The depth decoder: codebooks 1.. of a frame, from the backbone's last hidden state and the codes
// so far.
#ifndef CSM_MODEL_DEPTH_DECODER_H_
#define CSM_MODEL_DEPTH_DECODER_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/runtime.h"
#include "checkpoint/model_dir.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "model/llama_stack.h"

namespace csm {

/// Immutable. Position 0 takes the backbone's last hidden state, position p >= 1 the embedding of
/// code p - 1; all inputs go through the projector. Head p - 1 turns position p into logits of
/// codebook p.
struct CsmDepthDecoderModel::Impl {
  Impl(const checkpoint::CsmCheckpoint& checkpoint, checkpoint::WeightLoader& loader,
       Runtime with_runtime);
  static std::shared_ptr<const Impl> Load(const std::filesystem::path& dir,
                                          const LoadOptions& options);

  /// out [backbone_hidden_size] = the embedding of `code` of codebook `codebook`.
  void EmbedCode(int64_t codebook, int32_t code, float* out) const;
  /// out [num_rows, hidden_size] = projector(embeddings [num_rows, backbone_hidden_size]).
  void Project(const float* embeddings, int64_t num_rows, model::Scratch& scratch,
               float* out) const;
  /// logits of codebook `codebook` >= 1 for rows of hidden states that `stride` floats lie apart.
  void Logits(int64_t codebook, const float* hidden, int64_t num_rows, int64_t stride,
              float* logits) const;

  CsmDepthDecoderConfig config;
  int64_t codebook_size;                  ///< of the codec, which decodes no larger code
  kernels::MatrixView embed_tokens;       ///< [num_codebooks * vocab_size, backbone_hidden]
  model::Linear inputs_embeds_projector;  ///< [hidden_size, backbone_hidden_size]
  std::vector<kernels::PackedMatrix> codebooks_head;  ///< num_codebooks - 1 of [vocab_size, hidden]
  model::LlamaStack stack;
  Runtime runtime;
  std::shared_ptr<const void> memory;  ///< keeps the weights
};

struct CsmDepthDecoderForCausalLM::Impl {
  std::shared_ptr<const CsmDepthDecoderModel::Impl> model;
};

}  // namespace csm

#endif  // CSM_MODEL_DEPTH_DECODER_H_

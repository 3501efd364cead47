// The backbone with the embeddings and the head around it: prompt in, logits of codebook 0 out.
#ifndef CSM_MODEL_BACKBONE_H_
#define CSM_MODEL_BACKBONE_H_

#include <cstdint>
#include <memory>
#include <span>

#include "base/runtime.h"
#include "checkpoint/model_dir.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "model/llama_stack.h"

namespace csm {

/// Immutable. HF keeps embed_text_tokens and lm_head in CsmForConditionalGeneration; they stand
/// here because everything that runs a backbone needs them.
struct CsmBackboneModel::Impl {
  Impl(const checkpoint::CsmCheckpoint& checkpoint, checkpoint::WeightLoader& loader,
       Runtime with_runtime);

  /// out [hidden_size] = the embedding of a text id. Throws ArgumentError for an id outside it.
  void EmbedText(int32_t id, float* out) const;
  /// out [hidden_size] = sum over codebooks k of the embedding of (k, frame[k]).
  void EmbedFrame(std::span<const int32_t> frame, float* out) const;
  /// logits [num_rows, vocab_size] of codebook 0 from normalised hidden states.
  void Logits(std::span<const float> hidden, int64_t num_rows, float* logits) const;

  CsmConfig config;
  kernels::MatrixView embed_text_tokens;   ///< [text_vocab_size, hidden_size]
  kernels::MatrixView embed_audio_tokens;  ///< [num_codebooks * vocab_size, hidden_size]
  model::Linear lm_head;                   ///< [vocab_size, hidden_size]
  model::LlamaStack stack;
  Runtime runtime;
  std::shared_ptr<const void> memory;  ///< keeps the weights
};

namespace model {

/// Throws ArgumentError unless the codes are whole frames and each has `num_codebooks` codes in [0,
/// vocab_size).
void CheckCodes(const Codes& codes, int64_t num_codebooks, int64_t vocab_size);

}  // namespace model
}  // namespace csm

#endif  // CSM_MODEL_BACKBONE_H_

// What a prompt is made of: the embeddings of text ids and of frames of codes.
#ifndef CSM_MODEL_PROMPT_EMBEDDINGS_H_
#define CSM_MODEL_PROMPT_EMBEDDINGS_H_

#include <cstdint>
#include <memory>
#include <span>

#include "checkpoint/model_dir.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "kernels/matrix_view.h"

namespace csm::model {

/// Immutable. HF keeps embed_text_tokens in CsmForConditionalGeneration; whatever runs the
/// backbone, here or on another device, needs both tables.
struct PromptEmbeddings {
  PromptEmbeddings(const checkpoint::CsmCheckpoint& checkpoint, checkpoint::WeightLoader& loader);

  /// out [hidden_size] = the embedding of a text id. Throws ArgumentError for an id outside it.
  void EmbedText(int32_t id, float* out) const;
  /// out [hidden_size] = sum over codebooks k of the embedding of (k, frame[k]).
  void EmbedFrame(std::span<const int32_t> frame, float* out) const;

  CsmConfig config;
  kernels::MatrixView text;            ///< [text_vocab_size, hidden_size]
  kernels::MatrixView audio;           ///< [num_codebooks * vocab_size, hidden_size]
  std::shared_ptr<const void> memory;  ///< keeps the weights
};

}  // namespace csm::model

#endif  // CSM_MODEL_PROMPT_EMBEDDINGS_H_

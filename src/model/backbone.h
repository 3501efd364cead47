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
#include "model/prompt_embeddings.h"

namespace csm {

/// Immutable. HF keeps lm_head in CsmForConditionalGeneration; it stands here because everything
/// that runs a backbone needs it.
struct CsmBackboneModel::Impl {
  Impl(const checkpoint::CsmCheckpoint& checkpoint, checkpoint::WeightLoader& loader,
       Runtime with_runtime);

  /// logits [num_rows, vocab_size] of codebook 0 from normalised hidden states.
  void Logits(std::span<const float> hidden, int64_t num_rows, float* logits) const;

  CsmConfig config;
  model::PromptEmbeddings embeddings;
  model::Linear lm_head;  ///< [vocab_size, hidden_size]
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

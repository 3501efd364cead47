// From the processor's rows to what the backbone reads.
#ifndef CSM_ENGINE_PROMPT_H_
#define CSM_ENGINE_PROMPT_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "model/backbone.h"

namespace csm::engine {

/// One row of a batch, encoded.
struct Prompt {
  const CsmInputs::Row* row;
  Codes frames;       ///< of its clips
  Matrix embeddings;  ///< [positions, hidden_size]
};

/// Thrown through the reading of prompts when the caller wants no more of it.
struct Cancelled {};

/// The rows, which must outlive the result; `check` is called every few seconds of their audio.
/// Throws ArgumentError for what does not fit the model.
std::vector<Prompt> ReadPrompts(std::span<const CsmInputs::Row> rows, const MimiModel& codec,
                                const CsmBackboneModel::Impl& backbone,
                                const std::function<void()>& check = nullptr);

/// Frames that a sequence may have, by HF's rules: max_new_tokens, else max_length less the longest
/// prompt of the batch (as HF's padded one), else 20. Throws ArgumentError if that leaves none.
int64_t MaxFrames(const GenerationConfig& config, int64_t longest_prompt);

/// The codes of a row's clips one after the other, waveforms encoded by the codec, each clip at its
/// own exact length: [frames, num_codebooks].
Codes EncodeClips(const CsmInputs::Row& row, const MimiModel& codec, const CsmConfig& config,
                  const std::function<void()>& check = nullptr);

/// Embeddings [positions, hidden_size]. In a row with audio each audio_token_id takes the next
/// frame and each audio_eos_token_id the frame of codebook_eos_token_id; in a row without they are
/// text like any other. Throws ArgumentError unless there is one frame per audio_token_id.
Matrix EmbedPrompt(const CsmInputs::Row& row, const Codes& frames,
                   const CsmBackboneModel::Impl& backbone);

}  // namespace csm::engine

#endif  // CSM_ENGINE_PROMPT_H_

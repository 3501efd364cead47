// From the processor's rows to what the backbone reads.
#ifndef CSM_ENGINE_PROMPT_H_
#define CSM_ENGINE_PROMPT_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "model/kv_cache.h"
#include "model/llama_stack.h"
#include "model/prompt_embeddings.h"

namespace csm::engine {

/// One row of a batch, encoded.
struct Prompt {
  const CsmInputs::Row* row;
  Codes frames;                         ///< of its clips
  Matrix embeddings;                    ///< [positions after `past`, hidden_size]
  const KvCache::Impl* past = nullptr;  ///< of the row's voice, whose positions are not embedded
};

/// Thrown through the reading of prompts when the caller wants no more of it.
struct Cancelled {};

/// Called every few seconds of a row's audio with the frames that the codec has made of it so far.
using EncodeObserver = std::function<void(int64_t frames)>;

/// What becomes of the voice that a row begins with.
enum class VoiceUse { kGoOn, kReadAgain };

/// The rows, which must outlive the result. Throws ArgumentError for what does not fit the model,
/// or, going on, a row's voice.
std::vector<Prompt> ReadPrompts(std::span<const CsmInputs::Row> rows, const MimiModel& codec,
                                const model::PromptEmbeddings& embeddings,
                                const EncodeObserver& observer = nullptr,
                                VoiceUse voice_use = VoiceUse::kReadAgain);

/// Calls `report` once a layer and chunk with how many of the `total` positions have gone through
/// the backbone; those that have gone through some of its layers count in part.
model::HiddenObserver WatchPrefill(
    int64_t total, const LlamaConfig& config,
    const std::function<void(int64_t positions, int64_t total)>& report);

/// Frames that a sequence may have, by HF's rules: max_new_tokens, else max_length less the longest
/// prompt of the batch (as HF's padded one), else 20. Throws ArgumentError if that leaves none.
int64_t MaxFrames(const GenerationConfig& config, int64_t longest_prompt);

/// The codes of a row's clips one after the other, waveforms encoded by the codec, each clip at its
/// own exact length: [frames, num_codebooks].
Codes EncodeClips(const CsmInputs::Row& row, const MimiModel& codec, const CsmConfig& config,
                  const EncodeObserver& observer = nullptr);

/// Embeddings [positions from `first` on, hidden_size]. In a row with audio each audio_token_id
/// takes the next frame and each audio_eos_token_id the frame of codebook_eos_token_id; in a row
/// without they are text like any other. Throws ArgumentError unless there is one frame per
/// audio_token_id.
Matrix EmbedPrompt(const CsmInputs::Row& row, const Codes& frames,
                   const model::PromptEmbeddings& embeddings, int64_t first = 0);

}  // namespace csm::engine

#endif  // CSM_ENGINE_PROMPT_H_

// From the processor's rows to what the backbone reads.
#ifndef CSM_ENGINE_PROMPT_H_
#define CSM_ENGINE_PROMPT_H_

#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "model/backbone.h"

namespace csm::engine {

/// The codes of a row's clips one after the other, waveforms encoded by the codec, each clip at its
/// own exact length: [frames, num_codebooks].
Codes EncodeClips(const CsmInputs::Row& row, const MimiModel& codec, const CsmConfig& config);

/// Embeddings [positions, hidden_size]. In a row with audio each audio_token_id takes the next
/// frame and each audio_eos_token_id the frame of codebook_eos_token_id; in a row without they are
/// text like any other. Throws ArgumentError unless there is one frame per audio_token_id.
Matrix EmbedPrompt(const CsmInputs::Row& row, const Codes& frames,
                   const CsmBackboneModel::Impl& backbone);

}  // namespace csm::engine

#endif  // CSM_ENGINE_PROMPT_H_

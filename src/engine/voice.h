// What the public csm::Voice holds, and what generate() asks of it.
#ifndef CSM_ENGINE_VOICE_H_
#define CSM_ENGINE_VOICE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "csm/csm.hpp"
#include "model/kv_cache.h"

namespace csm {

/// Immutable once made. Whoever makes one keeps the parts in accord: the codes of all turns are
/// `codes`, and the cache has as many positions as there are ids.
struct Voice::Impl {
  std::string label;  ///< for messages: "the voice FILE", or "the voice"
  VoiceInfo info;
  Conversation conversation;  ///< audio as codes
  std::vector<int32_t> input_ids;
  Codes codes;
  KvCache::Impl cache;  ///< the backbone's
};

namespace engine {

/// The turns of a voice to be, read and checked as far as that goes without the model.
struct VoiceContext {
  Conversation conversation;
  CsmInputs::Row row;
};

/// Throws ArgumentError unless the last turn has audio and the positions leave room for speech.
VoiceContext ReadVoiceContext(const CsmProcessor& processor, const Conversation& conversation,
                              const CsmProcessor::Options& options, const CsmConfig& config);
Voice MakeVoice(const CsmForConditionalGeneration& model, const VoiceContext& context,
                const VoiceCallbacks& callbacks);

/// Throws ArgumentError that names both models unless the voice was made with this one.
void CheckModel(const Voice::Impl& voice, const CsmForConditionalGeneration::Impl& model);

/// Throws ArgumentError unless the row goes on from the voice: its ids and the frames of its clips
/// begin with the voice's, and something follows.
void CheckBeginning(const Voice::Impl& voice, const CsmInputs::Row& row, const Codes& frames);

}  // namespace engine
}  // namespace csm

#endif  // CSM_ENGINE_VOICE_H_

// The frames of a call of generate() as audio.
#ifndef CSM_ENGINE_AUDIO_OUTPUT_H_
#define CSM_ENGINE_AUDIO_OUTPUT_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "engine/csm_model.h"
#include "engine/frame_decoder.h"
#include "engine/frame_stepper.h"

namespace csm::engine {

/// Decodes while sequences are spoken: a frame at a time for a listener who waits for it, or
/// several, which shares each read of the codec's weights among them; without a listener each
/// sequence at its end, so that but one at a time has a state of the codec.
class AudioOutput {
 public:
  /// The references must outlive it.
  AudioOutput(const CsmForConditionalGeneration::Impl& model, const GenerationConfig& config,
              const GenerateCallbacks& callbacks, size_t num_sequences);

  /// The sequences have a new last frame each.
  void Add(std::span<const Sequence* const> sequences);

  /// Nothing follows; returns the audio of all, empty if it was not asked for.
  std::vector<std::vector<float>> Finish(const std::vector<Sequence>& sequences);

  double seconds() const { return seconds_; }  ///< spent in it so far

 private:
  int64_t NumAudible(const Sequence& sequence) const;
  void Deliver(const Sequence& sequence, std::span<const float> samples);

  const CsmForConditionalGeneration::Impl& model_;
  const GenerateCallbacks& callbacks_;
  std::unique_ptr<FrameDecoder> decoder_;  ///< null: nobody wants audio
  int64_t frames_at_once_ = 1;
  double seconds_ = 0;
  std::vector<int64_t> num_decoded_;       ///< frames, by the sequence's index
  std::vector<std::vector<float>> audio_;  ///< the same; empty: not asked for
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_AUDIO_OUTPUT_H_

// The generation loop's inner part: the next frame of every sequence that is being spoken.
#ifndef CSM_ENGINE_FRAME_STEPPER_H_
#define CSM_ENGINE_FRAME_STEPPER_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "engine/depth_loop.h"
#include "model/backbone.h"

namespace csm::engine {

/// Everything that changes while one sequence is spoken. Rows may join and leave between frames.
struct Sequence {
  int index = 0;                 ///< in the caller's output
  uint64_t random_sequence = 0;  ///< keys the random numbers, with the seed
  int64_t max_frames = 0;
  KvCache cache;              ///< the backbone's
  std::vector<float> hidden;  ///< [hidden_size], the backbone's last state after its final norm
  Codes codes;                ///< frames so far
  std::vector<float> scores, logits;  ///< codebook 0 per frame, on request
  std::optional<FinishReason> finish_reason;
};

/// Whether all of these codes of a frame are codebook_eos_token_id.
inline bool AreEnd(std::span<const int32_t> codes, const CsmConfig& config) {
  return std::all_of(codes.begin(), codes.end(),
                     [&](int32_t code) { return code == config.codebook_eos_token_id; });
}

/// What all sequences of one call share.
struct StepOptions {
  const GenerationConfig& config;
  const GenerateCallbacks& callbacks;
  uint64_t seed = 0;
};

/// Not thread-safe: owns buffers. The models it runs are immutable and may be shared.
class FrameStepper {
 public:
  FrameStepper(const CsmBackboneModel::Impl& backbone, const CsmDepthDecoderModel::Impl& depth)
      : backbone_(backbone), depth_loop_(depth) {}

  /// Reads each sequence's prompt embeddings [positions, hidden_size] into its cache. `observer`
  /// may throw to end it; the caches are then of no use.
  void Prefill(std::span<Sequence* const> sequences, std::span<const Matrix* const> prompts,
               const model::HiddenObserver& observer = nullptr);

  /// Appends one frame to every sequence from its hidden state and sets finish_reason where it was
  /// the last: codebooks 0 .. K-2 all codebook_eos_token_id (HF's rule; the last is not looked at),
  /// or max_frames. Codes that the codec cannot decode are never chosen.
  void NextFrame(std::span<Sequence* const> sequences, const StepOptions& options);

  /// Feeds each sequence's last frame back into the backbone.
  void Advance(std::span<Sequence* const> sequences);

  const GenerateTimes& times() const { return times_; }  ///< so far

 private:
  int32_t Choose(const Sequence& sequence, int64_t codebook, const SamplingConfig& sampling,
                 std::span<float> logits, const StepOptions& options,
                 std::span<float> scores = {}) const;
  int32_t ChooseCode0(Sequence& sequence, std::span<float> logits,
                      const StepOptions& options) const;
  void RunBackbone(std::span<Sequence* const> sequences,
                   const model::HiddenObserver& observer = nullptr);

  const CsmBackboneModel::Impl& backbone_;
  DepthLoop depth_loop_;
  std::vector<model::Segment> segments_;
  std::vector<float> hidden_, logits_;
  model::Scratch scratch_;
  GenerateTimes times_;
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_FRAME_STEPPER_H_

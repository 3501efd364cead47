// The generation loop's inner part: the next frame of every sequence that is being spoken. What
// computes it is behind this interface: this library's own kernels (cpu_stepper.h), or another
// device (device_model.h).
#ifndef CSM_ENGINE_FRAME_STEPPER_H_
#define CSM_ENGINE_FRAME_STEPPER_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "model/llama_stack.h"

namespace csm::engine {

/// Everything that changes while one sequence is spoken. Rows may join and leave between frames.
struct Sequence {
  int index = 0;                 ///< in the caller's output
  uint64_t random_sequence = 0;  ///< keys the random numbers, with the seed
  int64_t max_frames = 0;
  KvCache cache;              ///< the backbone's; on another device, a voice's positions alone
  std::vector<float> hidden;  ///< [hidden_size], the backbone's last state after its final norm
  int64_t device_row = -1;    ///< on another device, which has cache and state; -1: none yet
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
  FrameStepper() = default;
  FrameStepper(const FrameStepper&) = delete;
  FrameStepper& operator=(const FrameStepper&) = delete;
  virtual ~FrameStepper() = default;

  /// Reads each sequence's prompt embeddings [positions, hidden_size] after what its cache holds.
  /// `observer` may throw to end it; the caches are then of no use.
  virtual void Prefill(std::span<Sequence* const> sequences, std::span<const Matrix* const> prompts,
                       const model::HiddenObserver& observer) = 0;

  /// `to` goes on from where `from` is.
  virtual void Fork(const Sequence& from, Sequence& to) = 0;

  /// Appends one frame to every sequence and sets finish_reason where it was the last: codebooks
  /// 0 .. K-2 all codebook_eos_token_id (HF's rule; the last is not looked at), or max_frames.
  /// Codes that the codec cannot decode are never chosen.
  virtual void NextFrame(std::span<Sequence* const> sequences, const StepOptions& options) = 0;

  /// Feeds each sequence's last frame back into the backbone.
  virtual void Advance(std::span<Sequence* const> sequences) = 0;

  const GenerateTimes& times() const { return times_; }  ///< so far

 protected:
  GenerateTimes times_;
};

/// The frame that was appended last: [num_codebooks].
inline std::span<int32_t> LastFrame(Sequence& sequence) {
  return sequence.codes.frame(sequence.codes.num_frames() - 1);
}
inline std::span<const int32_t> LastFrame(const Sequence& sequence) {
  return sequence.codes.frame(sequence.codes.num_frames() - 1);
}

/// The random number, in [0, 1), that the code of `codebook` of the sequence's last frame is drawn
/// with.
double UniformFor(const Sequence& sequence, int64_t codebook, const StepOptions& options);

/// Chooses the code of `codebook` for the sequence's last frame from its logits [vocab_size], which
/// the caller's logits_processor may change. `scores`: as ChooseCode has them.
int32_t ChooseFor(const Sequence& sequence, int64_t codebook, std::span<float> logits,
                  const CsmConfig& model, const StepOptions& options, std::span<float> scores = {});

/// The same for codebook 0, with which the sequence keeps the logits and scores that are asked for.
int32_t ChooseCode0(Sequence& sequence, std::span<float> logits, const CsmConfig& model,
                    const StepOptions& options);

/// Makes room for one more frame and returns it.
std::span<int32_t> AppendFrame(Sequence& sequence);

/// Sets finish_reason if the last frame was to be the last.
void FinishIfLast(Sequence& sequence, const CsmConfig& model);

}  // namespace csm::engine

#endif  // CSM_ENGINE_FRAME_STEPPER_H_

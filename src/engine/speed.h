// How fast a model speaks, and what of it: the figures of `csm bench`.
#ifndef CSM_ENGINE_SPEED_H_
#define CSM_ENGINE_SPEED_H_

#include <cstdint>

#include "csm/csm.hpp"

namespace csm::engine {

/// One stream, frame by frame. Milliseconds.
struct FrameTimes {
  double median = 0;
  double p95 = 0;
  double backbone = 0;  ///< means of the parts, as GenerateTimes has them
  double depth_decoder = 0;
  double heads = 0;
  double ttfa = 0;  ///< from the call of generate() to the first audio
};

/// Speaks `num_frames` after a prompt of `prompt` positions, with audio if `ttfa` is wanted.
FrameTimes TimeFrames(const CsmForConditionalGeneration& model, int64_t prompt, int64_t num_frames,
                      bool with_audio);

/// Bytes of memory that a frame asks for at `positions` in the cache: every weight of the backbone,
/// lm_head, num_codebooks - 1 passes of the depth decoder with their heads, and the backbone's keys
/// and values.
int64_t BytesPerFrame(const CsmForConditionalGeneration& model, int64_t positions);

/// Seconds of audio per second when `batch` sequences are spoken together.
double TimeBatch(const CsmForConditionalGeneration& model, int64_t batch, int64_t num_frames);

/// Seconds to read a prompt of `positions`, and the multiply-adds that it takes in the matrices.
struct PrefillTime {
  double seconds = 0;
  double mul_adds = 0;
};
PrefillTime TimePrefill(const CsmForConditionalGeneration& model, int64_t positions);

/// Compute time over audio time.
struct CodecTimes {
  double decode = 0;       ///< many frames a call
  double decode_step = 0;  ///< one frame a call
  double encode = 0;
};
CodecTimes TimeCodec(const MimiModel& codec, int num_codebooks, double seconds);

}  // namespace csm::engine

#endif  // CSM_ENGINE_SPEED_H_

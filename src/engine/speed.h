// How fast a model speaks, and what of it: the figures of `csm bench`.
#ifndef CSM_ENGINE_SPEED_H_
#define CSM_ENGINE_SPEED_H_

#include <cstdint>

#include "csm/csm.hpp"

namespace csm::engine {

/// What a piece of work asks of the machine. Attention's multiply-adds are not in it: below 2,000
/// positions they are few beside those with weights.
struct Work {
  double mul_adds = 0;  ///< with weights
  double bytes = 0;     ///< to be read at least: weights, and the keys and values of frames
};

/// One frame of each of `batch` sequences that have `positions` in the cache: every weight of the
/// backbone, lm_head, num_codebooks - 1 passes of the depth decoder with their heads, and the
/// backbone's keys and values.
Work FrameWork(const CsmForConditionalGeneration& model, int64_t batch, int64_t positions);

/// A prompt of `positions`: every weight of the backbone once.
Work PrefillWork(const CsmForConditionalGeneration& model, int64_t positions);

/// What to speak, and for how long: a median wants many frames, slow models must come to an end.
struct FrameTest {
  int64_t batch = 1;
  int64_t prompt = 22;  ///< positions
  int64_t most_frames = 33;
  int64_t least_frames = 10;  ///< even if they take more than `seconds`
  double seconds = 10;
};

/// Milliseconds from frame to frame with its audio, all sequences together. The first two frames
/// are not in the median and p95: caches are cold.
struct FrameTimes {
  double median = 0;
  double p95 = 0;
  double backbone = 0;  ///< means of the parts, as GenerateTimes has them
  double depth_decoder = 0;
  double heads = 0;
  double codec = 0;
  double ttfa = 0;         ///< from the call of generate() to the first audio
  int64_t num_frames = 0;  ///< that median and p95 are of
};
FrameTimes TimeFrames(const CsmForConditionalGeneration& model, const FrameTest& test);

/// Seconds to read a prompt of `positions`.
double TimePrefill(const CsmForConditionalGeneration& model, int64_t positions);

/// Compute time over audio time.
struct CodecTimes {
  double decode = 0;       ///< many frames a call
  double decode_step = 0;  ///< one frame a call
  double encode = 0;
};
CodecTimes TimeCodec(const MimiModel& codec, int num_codebooks, double seconds);

}  // namespace csm::engine

#endif  // CSM_ENGINE_SPEED_H_

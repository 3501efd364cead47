// Audio of a turn, made ready for the codec.
#ifndef CSM_TEXT_CLIP_H_
#define CSM_TEXT_CLIP_H_

#include <cstdint>
#include <variant>

#include "csm/csm.hpp"
#include "text/processor_files.h"

namespace csm::text {

using Clip = std::variant<Waveform, Codes>;

/// Reads and resamples to the codec's rate; codes are checked and kept. Throws FileError or
/// FormatError (the file), ArgumentError (samples or codes that no codec could have made).
Clip MakeClip(const Audio& audio, const AudioLimits& limits);

/// Frames of a clip: ceil(samples / frame_size), which is what the codec makes of them.
int64_t NumFrames(const Clip& clip, int64_t frame_size);

}  // namespace csm::text

#endif  // CSM_TEXT_CLIP_H_

// The few bytes of RIFF/WAVE that libsndfile cannot take care of: a header to stream behind, and
// whether a file is as long as its header says.
#ifndef CSM_AUDIO_WAV_HEADER_H_
#define CSM_AUDIO_WAV_HEADER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "audio/byte_stream.h"
#include "audio/sample_type.h"

namespace csm::audio {

/// Header of a mono wav file; `data_bytes` of samples follow it, or none: an unknown number. An
/// unknown size is written as 0xFFFFFFFF, as ffmpeg does into a pipe: ffmpeg and sox read such a
/// stream to its end, as aplay does for any size of 0x7FFFFFFE or more.
std::string WavHeader(int sampling_rate, SampleType type, std::optional<uint32_t> data_bytes);

/// Throws FormatError if `stream` is a RIFF/WAVE file that ends before its samples do. libsndfile
/// would read the rest without a word. Files written into a pipe, which claim 0 or (nearly) the
/// largest size, and files of other kinds pass.
void CheckWavIsWhole(ByteStream& stream, std::string_view name);

}  // namespace csm::audio

#endif  // CSM_AUDIO_WAV_HEADER_H_

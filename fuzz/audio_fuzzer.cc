// Any bytes as an audio file: read and resampled, or refused with an Error. Errors found inside
// libsndfile's decoders are to be reported there; ours to hold is that nothing else is thrown, no
// sample is NaN and the output is bounded by what the input can decode to.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "audio/audio_file.h"

// libsndfile 1.2.0 forgets 6 KB of each damaged Ogg Vorbis file that it refuses to open.
extern "C" CSM_EXPORT const char* __lsan_default_suppressions() { return "leak:libvorbis\n"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A few bytes of FLAC can stand for hours of silence; ten seconds show what there is to see.
  constexpr size_t kMaxSamples = 240000;
  try {
    csm::audio::AudioReader reader(std::as_bytes(std::span(data, size)), "input", 24000);
    size_t num_samples = 0;
    while (num_samples < kMaxSamples) {
      const auto chunk = reader.ReadChunk();
      if (chunk.empty()) break;
      num_samples += chunk.size();
      for (const float sample : chunk) {
        if (!std::isfinite(sample)) std::abort();
      }
    }
  } catch (const csm::Error&) {
  }
  return 0;
}

#include "text/clip.h"

#include "audio/audio_file.h"
#include "audio/resampler.h"
#include "audio/sample_type.h"
#include "base/error.h"

namespace csm::text {
namespace {

Clip FromSamples(const Waveform& waveform, const AudioLimits& limits) {
  if (waveform.samples.empty()) Fail<ArgumentError>("the audio has 0 samples");
  if (const auto bad = audio::FindNonAudio(waveform.samples)) {
    Fail<ArgumentError>("sample {} of the audio is not a finite number, or too large for audio",
                        *bad);
  }
  return Waveform{audio::Resample(waveform.samples, waveform.sampling_rate, limits.sampling_rate),
                  limits.sampling_rate};
}

Clip FromCodes(const Codes& codes, const AudioLimits& limits) {
  if (codes.num_codebooks <= 0 || codes.data.empty() ||
      codes.data.size() % static_cast<size_t>(codes.num_codebooks) != 0) {
    Fail<ArgumentError>("{} codes in {} codebooks are not whole frames of audio", codes.data.size(),
                        codes.num_codebooks);
  }
  if (limits.num_codebooks && codes.num_codebooks != *limits.num_codebooks) {
    Fail<ArgumentError>("the codes have {} codebooks; the model takes {}", codes.num_codebooks,
                        *limits.num_codebooks);
  }
  const int64_t size = limits.codebook_size.value_or(INT32_MAX);
  for (size_t i = 0; i < codes.data.size(); ++i) {
    if (codes.data[i] >= 0 && codes.data[i] < size) continue;
    const size_t width = static_cast<size_t>(codes.num_codebooks);
    Fail<ArgumentError>("frame {}, codebook {} has the code {}; codes are 0 to {}", i / width,
                        i % width, codes.data[i], size - 1);
  }
  return codes;
}

}  // namespace

Clip MakeClip(const Audio& audio, const AudioLimits& limits) {
  if (const auto* file = std::get_if<std::filesystem::path>(&audio.source)) {
    return audio::ReadAudio(*file, limits.sampling_rate);
  }
  if (const auto* waveform = std::get_if<Waveform>(&audio.source)) {
    return FromSamples(*waveform, limits);
  }
  return FromCodes(std::get<Codes>(audio.source), limits);
}

int64_t NumFrames(const Clip& clip, int64_t frame_size) {
  if (const auto* codes = std::get_if<Codes>(&clip)) return codes->num_frames();
  const auto num_samples = static_cast<int64_t>(std::get<Waveform>(clip).samples.size());
  return (num_samples + frame_size - 1) / frame_size;
}

}  // namespace csm::text

// How the samples of a wav or flac file are stored.
#ifndef CSM_AUDIO_SAMPLE_TYPE_H_
#define CSM_AUDIO_SAMPLE_TYPE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace csm::audio {

enum class SampleType { kFloat, kPcm16, kPcm24 };

/// "FLOAT", "PCM_16" or "PCM_24", libsndfile's (and so soundfile's) names. Throws ArgumentError.
SampleType ParseSampleType(std::string_view name);
std::string_view SampleTypeName(SampleType type);
int BytesPerSample(SampleType type);

/// Appends little-endian samples to `bytes`. Integers of b bits are floor(x * 2^(b-1)), limited to
/// [-2^(b-1), 2^(b-1) - 1]: what libsndfile, and so Python's soundfile, writes into a wav file.
/// Samples must be finite.
void AppendSamples(std::span<const float> samples, SampleType type, std::string* bytes);

/// The largest magnitude that is taken for audio, far above any scale in use (32-bit integers kept
/// as floats reach 2^31): sums over channels and filters stay finite.
inline constexpr float kMaxMagnitude = 1e12f;
/// Position of the first sample that is not audio: NaN, or beyond kMaxMagnitude; none: nullopt.
std::optional<int64_t> FindNonAudio(std::span<const float> samples);

/// Samples beyond full scale: outside [-1, 1].
int64_t CountBeyondFullScale(std::span<const float> samples);

/// Throws ArgumentError naming the position of the first sample that is not finite; `offset` is
/// the position of samples[0].
void CheckFinite(std::span<const float> samples, int64_t offset, std::string_view target);

}  // namespace csm::audio

#endif  // CSM_AUDIO_SAMPLE_TYPE_H_

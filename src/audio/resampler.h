// Sampling rate conversion (libsoxr).
#ifndef CSM_AUDIO_RESAMPLER_H_
#define CSM_AUDIO_RESAMPLER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

struct soxr;

namespace csm::audio {

/// Rates that this library accepts. The range holds every real recording; it bounds how much
/// memory and time a file can ask for by claiming a rate.
inline constexpr int kMinSamplingRate = 1000;
inline constexpr int kMaxSamplingRate = 768000;

/// Converts one mono stream from one rate to another with soxr's HQ filter (20 bits; what
/// librosa, and so transformers, uses). n samples in give ceil(n * output_rate / input_rate) out,
/// as librosa's do, and the pieces they come in do not change a bit. Equal rates pass through.
class Resampler {
 public:
  /// Throws ArgumentError if a rate is out of range.
  Resampler(int input_rate, int output_rate);
  ~Resampler();
  Resampler(Resampler&&) noexcept;
  Resampler& operator=(Resampler&&) noexcept;

  /// Appends to `output` what these samples complete.
  void Push(std::span<const float> samples, std::vector<float>* output);
  /// Ends the stream: appends the rest.
  void Finish(std::vector<float>* output);

 private:
  struct Deleter {
    void operator()(soxr* resampler) const;
  };
  void Process(const float* samples, size_t num_samples, std::vector<float>* output);

  int64_t input_rate_;
  int64_t output_rate_;
  int64_t num_input_ = 0;
  int64_t num_output_ = 0;
  std::unique_ptr<soxr, Deleter> soxr_;  // null if the rates are equal
};

/// A whole signal at once.
std::vector<float> Resample(std::span<const float> samples, int input_rate, int output_rate);

}  // namespace csm::audio

#endif  // CSM_AUDIO_RESAMPLER_H_

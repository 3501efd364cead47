#include "kernels/rope.h"

#include <cmath>
#include <numbers>

namespace csm::kernels {
namespace {

// Llama 3's rule: wavelengths beyond the trained context are stretched by `factor`, short ones are
// kept, those between are blended.
float ScaleLlama3(float inverse_frequency, const RopeParameters& p) {
  const auto original = static_cast<float>(p.original_max_position_embeddings);
  const auto low = static_cast<float>(p.low_freq_factor);
  const auto high = static_cast<float>(p.high_freq_factor);
  const auto factor = static_cast<float>(p.factor);
  const float wavelength = 2 * std::numbers::pi_v<float> / inverse_frequency;
  if (wavelength > original / low) return inverse_frequency / factor;
  if (wavelength < original / high) return inverse_frequency;
  const float smooth = (original / wavelength - low) / (high - low);
  return (1 - smooth) * inverse_frequency / factor + smooth * inverse_frequency;
}

}  // namespace

std::vector<float> RopeInverseFrequencies(const RopeParameters& parameters, int64_t head_dim) {
  std::vector<float> result(static_cast<size_t>(head_dim / 2));
  for (size_t i = 0; i < result.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    result[i] = 1.0F / std::pow(static_cast<float>(parameters.rope_theta), exponent);
    if (parameters.rope_type == "llama3") result[i] = ScaleLlama3(result[i], parameters);
  }
  return result;
}

void RopeAngles(const std::vector<float>& inverse_frequencies, int64_t position, float* cos,
                float* sin) {
  for (size_t i = 0; i < inverse_frequencies.size(); ++i) {
    const float angle = inverse_frequencies[i] * static_cast<float>(position);
    cos[i] = std::cos(angle);
    sin[i] = std::sin(angle);
  }
}

}  // namespace csm::kernels

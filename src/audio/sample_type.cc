#include "audio/sample_type.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "base/error.h"

namespace csm::audio {
namespace {

void AppendLittleEndian(uint32_t value, int num_bytes, std::string* bytes) {
  for (int i = 0; i < num_bytes; ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

int32_t Quantize(float sample, int bits) {
  const double scale = std::ldexp(1.0, bits - 1);
  // Exact: the product only changes the exponent.
  const double value = std::floor(static_cast<double>(sample) * scale);
  return static_cast<int32_t>(std::clamp(value, -scale, scale - 1));
}

}  // namespace

SampleType ParseSampleType(std::string_view name) {
  for (SampleType type : {SampleType::kFloat, SampleType::kPcm16, SampleType::kPcm24}) {
    if (name == SampleTypeName(type)) return type;
  }
  Fail<ArgumentError>("subtype \"{}\" is unknown: FLOAT, PCM_16 and PCM_24 can be written", name);
}

std::string_view SampleTypeName(SampleType type) {
  switch (type) {
    case SampleType::kFloat:
      return "FLOAT";
    case SampleType::kPcm16:
      return "PCM_16";
    case SampleType::kPcm24:
      return "PCM_24";
  }
  assert(false);
  return {};
}

int BytesPerSample(SampleType type) {
  return type == SampleType::kFloat ? 4 : type == SampleType::kPcm16 ? 2 : 3;
}

void AppendSamples(std::span<const float> samples, SampleType type, std::string* bytes) {
  const int num_bytes = BytesPerSample(type);
  bytes->reserve(bytes->size() + samples.size() * static_cast<size_t>(num_bytes));
  for (const float sample : samples) {
    const uint32_t value = type == SampleType::kFloat
                               ? std::bit_cast<uint32_t>(sample)
                               : static_cast<uint32_t>(Quantize(sample, 8 * num_bytes));
    AppendLittleEndian(value, num_bytes, bytes);
  }
}

std::optional<int64_t> FindNonAudio(std::span<const float> samples) {
  const auto bad = std::find_if(samples.begin(), samples.end(),
                                [](float x) { return !(std::abs(x) <= kMaxMagnitude); });
  if (bad == samples.end()) return std::nullopt;
  return bad - samples.begin();
}

int64_t CountBeyondFullScale(std::span<const float> samples) {
  return std::count_if(samples.begin(), samples.end(), [](float x) { return x < -1 || x > 1; });
}

void CheckFinite(std::span<const float> samples, int64_t offset, std::string_view target) {
  const auto bad =
      std::find_if(samples.begin(), samples.end(), [](float x) { return !std::isfinite(x); });
  if (bad == samples.end()) return;
  Fail<ArgumentError>("cannot write {}: sample {} is not a finite number", target,
                      offset + (bad - samples.begin()));
}

}  // namespace csm::audio

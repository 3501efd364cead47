#include "audio/resampler.h"

#include <soxr.h>

#include <algorithm>
#include <cassert>
#include <new>

#include "base/error.h"

namespace csm::audio {
namespace {

// soxr keeps what a piece yields in its own buffers; small pieces keep those small.
constexpr size_t kPiece = 1 << 14;

void CheckRate(int rate) {
  if (rate < kMinSamplingRate || rate > kMaxSamplingRate) {
    Fail<ArgumentError>("a sampling rate of {} Hz is out of range: {} to {} Hz can be resampled",
                        rate, kMinSamplingRate, kMaxSamplingRate);
  }
}

}  // namespace

void Resampler::Deleter::operator()(soxr* resampler) const { soxr_delete(resampler); }

Resampler::Resampler(int input_rate, int output_rate)
    : input_rate_(input_rate), output_rate_(output_rate) {
  CheckRate(input_rate);
  CheckRate(output_rate);
  if (input_rate == output_rate) return;
  soxr_error_t error = nullptr;
  const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_runtime_spec_t runtime = soxr_runtime_spec(1);
  soxr_.reset(soxr_create(input_rate, output_rate, 1, &error, &io, &quality, &runtime));
  if (error != nullptr || soxr_ == nullptr) throw std::bad_alloc();  // its only cause left
}

Resampler::~Resampler() = default;
Resampler::Resampler(Resampler&&) noexcept = default;
Resampler& Resampler::operator=(Resampler&&) noexcept = default;

void Resampler::Process(const float* samples, size_t num_samples, std::vector<float>* output) {
  const size_t room =
      num_samples * static_cast<size_t>(output_rate_) / static_cast<size_t>(input_rate_) + kPiece;
  size_t used = 0;
  size_t made = 0;
  do {
    const size_t end = output->size();
    output->resize(end + room);
    size_t used_now = 0;
    // A null input tells soxr that the stream has ended.
    const soxr_error_t error =
        soxr_process(soxr_.get(), samples == nullptr ? nullptr : samples + used, num_samples - used,
                     &used_now, output->data() + end, room, &made);
    output->resize(end + made);
    if (error != nullptr) throw std::bad_alloc();
    used += used_now;
    num_output_ += static_cast<int64_t>(made);
  } while (used < num_samples || made == room);
}

void Resampler::Push(std::span<const float> samples, std::vector<float>* output) {
  num_input_ += static_cast<int64_t>(samples.size());
  if (soxr_ == nullptr) {
    output->insert(output->end(), samples.begin(), samples.end());
    return;
  }
  for (size_t begin = 0; begin < samples.size(); begin += kPiece) {
    const auto piece = samples.subspan(begin, std::min(kPiece, samples.size() - begin));
    Process(piece.data(), piece.size(), output);
  }
}

void Resampler::Finish(std::vector<float>* output) {
  if (soxr_ == nullptr) return;
  if (num_input_ > 0) Process(nullptr, 0, output);
  const int64_t expected = (num_input_ * output_rate_ + input_rate_ - 1) / input_rate_;
  // soxr rounds the length; the caller holds at least what this call appended.
  const int64_t excess = num_output_ - expected;
  assert(excess <= static_cast<int64_t>(output->size()));
  output->resize(static_cast<size_t>(static_cast<int64_t>(output->size()) - excess));
  soxr_.reset();
}

std::vector<float> Resample(std::span<const float> samples, int input_rate, int output_rate) {
  Resampler resampler(input_rate, output_rate);
  std::vector<float> output;
  output.reserve(samples.size() * static_cast<size_t>(output_rate) /
                     static_cast<size_t>(input_rate) +
                 2 * kPiece);
  resampler.Push(samples, &output);
  resampler.Finish(&output);
  return output;
}

}  // namespace csm::audio

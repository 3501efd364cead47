#include "audio/resampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "audio/test_signal.h"
#include "csm/csm.hpp"

namespace csm::audio {
namespace {

TEST(Resampler, LengthIsTheCeilingOfTheRatio) {
  for (const auto& [from, to] : {std::pair{44100, 24000},
                                 {8000, 24000},
                                 {24000, 16000},
                                 {48000, 24000},
                                 {22050, 24000},
                                 {1000, 768000},
                                 {24001, 24000}}) {
    for (const int64_t num_samples : {1, 2, 3, 100, 1919, 20000}) {
      const std::vector<float> in(static_cast<size_t>(num_samples), 0.25f);
      EXPECT_EQ(static_cast<int64_t>(Resample(in, from, to).size()),
                (num_samples * to + from - 1) / from)
          << num_samples << " samples from " << from << " to " << to;
    }
  }
}

TEST(Resampler, KeepsATone) {
  const auto out = Resample(Sine(44100, 997, 44100), 44100, 24000);
  const auto expected = Sine(24000, 997, 24000);
  ASSERT_EQ(out.size(), expected.size());
  double worst = 0;  // the filter rings where the tone starts and stops
  for (size_t t = 500; t + 500 < out.size(); ++t) {
    worst = std::max(worst, std::abs(static_cast<double>(out[t]) - expected[t]));
  }
  EXPECT_LT(worst, 1e-5);  // 20 bits of 0.5 is 5e-7; f32 arithmetic adds to it
}

TEST(Resampler, RemovesWhatTheLowerRateCannotHold) {
  const auto out = Resample(Sine(48000, 20000, 48000), 48000, 24000);
  float peak = 0;
  for (size_t t = 500; t + 500 < out.size(); ++t) peak = std::max(peak, std::abs(out[t]));
  EXPECT_LT(peak, 1e-5f);
}

TEST(Resampler, PiecesDoNotChangeABit) {
  const auto in = Sine(50000, 440, 44100);
  const auto whole = Resample(in, 44100, 24000);
  for (const size_t piece : {size_t{1}, size_t{7}, size_t{1000}, size_t{16385}}) {
    Resampler resampler(44100, 24000);
    std::vector<float> out;
    for (size_t t = 0; t < in.size(); t += piece) {
      resampler.Push(std::span(in).subspan(t, std::min(piece, in.size() - t)), &out);
    }
    resampler.Finish(&out);
    EXPECT_EQ(out, whole) << "in pieces of " << piece;
  }
}

TEST(Resampler, EqualRatesPassThrough) {
  const auto in = Sine(1234, 440, 24000);
  EXPECT_EQ(Resample(in, 24000, 24000), in);
}

TEST(Resampler, NothingGivesNothing) { EXPECT_TRUE(Resample({}, 44100, 24000).empty()); }

TEST(Resampler, RefusesAbsurdRates) {
  EXPECT_THROW(Resampler(0, 24000), ArgumentError);
  EXPECT_THROW(Resampler(-1, 24000), ArgumentError);
  EXPECT_THROW(Resampler(24000, 2000000000), ArgumentError);
}

}  // namespace
}  // namespace csm::audio

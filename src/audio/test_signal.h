// Signals and files for this room's tests.
#ifndef CSM_AUDIO_TEST_SIGNAL_H_
#define CSM_AUDIO_TEST_SIGNAL_H_

#include <cmath>
#include <numbers>
#include <vector>

#include "base/temporary_folder.h"

namespace csm::audio {

inline std::vector<float> Sine(int num_samples, double frequency, int sampling_rate,
                               double amplitude = 0.5) {
  std::vector<float> samples(static_cast<size_t>(num_samples));
  for (int t = 0; t < num_samples; ++t) {
    samples[static_cast<size_t>(t)] = static_cast<float>(
        amplitude * std::sin(2 * std::numbers::pi * frequency * t / sampling_rate));
  }
  return samples;
}

}  // namespace csm::audio

#endif  // CSM_AUDIO_TEST_SIGNAL_H_

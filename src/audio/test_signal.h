// Signals and files for this room's tests.
#ifndef CSM_AUDIO_TEST_SIGNAL_H_
#define CSM_AUDIO_TEST_SIGNAL_H_

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <numbers>
#include <string>
#include <vector>

namespace csm::audio {

/// A folder that is removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "csm_audio_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

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

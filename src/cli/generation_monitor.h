// Watches a generation from its callbacks: progress, streaming, cancellation, times.
#ifndef CSM_CLI_GENERATION_MONITOR_H_
#define CSM_CLI_GENERATION_MONITOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "audio/wav_stream.h"
#include "cli/progress.h"
#include "csm/csm.hpp"

namespace csm::cli {

class GenerationMonitor {
 public:
  /// max_frames: of a sequence, for the bar. `stream`: where the audio of the only sequence goes
  /// while it is made; null: nowhere.
  GenerationMonitor(int64_t max_frames, audio::WavStream* stream, bool quiet);

  /// To be given to generate(); `with_audio`: listen to audio as it is made.
  GenerateCallbacks Callbacks(bool with_audio);

  /// Generation has returned: the times are taken and the bar is removed.
  void Finish();

  /// Nobody reads the stream any longer.
  bool reader_is_gone() const { return reader_is_gone_; }

  double seconds() const { return seconds_; }
  /// From the start of generate(), prompt encoding and prefill included; none: no audio was made.
  std::optional<double> seconds_to_first_audio() const { return seconds_to_first_audio_; }
  double seconds_to_prefilled() const { return seconds_to_prefilled_.value_or(0.0); }
  /// Mean over all frames of the longest sequence but the first, which starts the caches; with
  /// the audio of all of them, where there is any. After Finish().
  double seconds_per_frame() const;
  int64_t num_frames() const { return num_frames_; }  ///< of all sequences

 private:
  void OnPrefill(int64_t positions, int64_t total);
  void OnFrame(int sequence);
  void OnAudio(std::span<const float> samples);

  audio::WavStream* stream_;
  std::optional<Progress> reading_;  // while the prompt goes through the backbone
  Progress progress_;
  bool quiet_;
  Clock::time_point start_ = Clock::now();
  int64_t num_frames_ = 0;
  int64_t num_steps_ = 0;  // frames of the longest sequence
  std::vector<int64_t> frames_of_;
  double seconds_ = 0.0;
  double seconds_at_first_frame_ = 0.0;
  std::optional<double> seconds_to_prefilled_;
  std::optional<double> seconds_to_first_audio_;
  bool reader_is_gone_ = false;
};

/// Largest resident memory of this process so far, mapped pages included.
int64_t PeakResidentBytes();

}  // namespace csm::cli

#endif  // CSM_CLI_GENERATION_MONITOR_H_

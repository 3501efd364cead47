#include "cli/generation_monitor.h"

#include <sys/resource.h>

#include <algorithm>

#include "cli/interrupt.h"

namespace csm::cli {
namespace {

constexpr int kFramesOfFile = 32;  // nobody hears a file before it is complete

}  // namespace

GenerationMonitor::GenerationMonitor(int64_t max_frames, audio::WavStream* stream, bool quiet)
    : stream_(stream), progress_("csm: speaking", "frames", max_frames, quiet), quiet_(quiet) {}

GenerateCallbacks GenerationMonitor::Callbacks(bool with_audio) {
  GenerateCallbacks callbacks;
  callbacks.on_frame = [this](int sequence, std::span<const int32_t>) { OnFrame(sequence); };
  if (with_audio) {
    callbacks.on_audio = [this](int, std::span<const float> samples) { OnAudio(samples); };
    if (stream_ == nullptr) callbacks.audio_frames = kFramesOfFile;
  }
  callbacks.on_prefill = [this](int64_t positions, int64_t total) { OnPrefill(positions, total); };
  callbacks.is_cancelled = [this] { return IsInterrupted() || reader_is_gone_; };
  return callbacks;
}

void GenerationMonitor::OnPrefill(int64_t positions, int64_t total) {
  if (!reading_) reading_.emplace("csm: reading", "positions", total, quiet_);
  reading_->Update(positions);
  if (positions < total) return;
  reading_.reset();
  seconds_to_prefilled_ = SecondsSince(start_);
}

void GenerationMonitor::OnFrame(int sequence) {
  ++num_frames_;
  const auto index = static_cast<size_t>(sequence);
  if (index >= frames_of_.size()) frames_of_.resize(index + 1);
  ++frames_of_[index];
  if (frames_of_[index] <= num_steps_) return;
  num_steps_ = frames_of_[index];
  if (num_steps_ == 1) seconds_at_first_frame_ = SecondsSince(start_);
  progress_.Update(num_steps_);
}

void GenerationMonitor::OnAudio(std::span<const float> samples) {
  if (stream_ != nullptr && !reader_is_gone_) reader_is_gone_ = !stream_->Write(samples);
  if (!seconds_to_first_audio_) seconds_to_first_audio_ = SecondsSince(start_);
}

void GenerationMonitor::Finish() {
  seconds_ = SecondsSince(start_);
  progress_.Finish();
}

double GenerationMonitor::seconds_per_frame() const {
  if (num_steps_ < 2) return seconds_at_first_frame_;
  return (seconds_ - seconds_at_first_frame_) / static_cast<double>(num_steps_ - 1);
}

int64_t PeakResidentBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace csm::cli

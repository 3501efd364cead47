#include "engine/audio_output.h"

#include <algorithm>
#include <limits>
#include <map>

#include "base/clock.h"

namespace csm::engine {

AudioOutput::AudioOutput(const CsmForConditionalGeneration::Impl& model,
                         const GenerationConfig& config, const GenerateCallbacks& callbacks,
                         size_t num_sequences)
    : model_(model), callbacks_(callbacks), num_decoded_(num_sequences) {
  if (config.output_audio) audio_.resize(num_sequences);
  if (!config.output_audio && !callbacks.on_audio) return;
  const int64_t wanted =
      callbacks.on_audio ? callbacks.audio_frames : std::numeric_limits<int64_t>::max();
  if (model.device != nullptr) {
    decoder_ = model.device->NewDecoder(static_cast<int64_t>(num_sequences));
  } else {
    decoder_ = std::make_unique<CpuFrameDecoder>(model.codec.impl());
  }
  frames_at_once_ = std::clamp<int64_t>(wanted, 1, decoder_->MostFrames());
}

// HF cuts at the first frame whose codes are all codebook_eos_token_id; only an ending frame can be
// one.
int64_t AudioOutput::NumAudible(const Sequence& sequence) const {
  const int64_t num_frames = sequence.codes.num_frames();
  const bool is_silent_end =
      num_frames > 0 && AreEnd(LastFrame(sequence), model_.checkpoint.config);
  return is_silent_end ? num_frames - 1 : num_frames;
}

void AudioOutput::Deliver(const Sequence& sequence, std::span<const float> samples) {
  if (callbacks_.on_audio) callbacks_.on_audio(sequence.index, samples);
  if (audio_.empty()) return;
  std::vector<float>& audio = audio_[static_cast<size_t>(sequence.index)];
  audio.insert(audio.end(), samples.begin(), samples.end());
}

void AudioOutput::Add(std::span<const Sequence* const> sequences) {
  if (decoder_ == nullptr) return;
  const auto start = Clock::now();
  // By their number, since streams step together that have as many frames.
  std::map<int64_t, std::vector<FrameDecoder::Frames>> due;
  for (const Sequence* sequence : sequences) {
    int64_t& num_decoded = num_decoded_[static_cast<size_t>(sequence->index)];
    const int64_t waiting = NumAudible(*sequence) - num_decoded;
    const bool is_first = num_decoded == 0 && callbacks_.on_audio;
    const bool is_last = sequence->finish_reason.has_value();
    if (waiting == 0 || (waiting < frames_at_once_ && !is_first && !is_last)) continue;
    due[waiting].push_back({sequence, num_decoded, waiting});
    num_decoded += waiting;
  }
  for (const auto& [count, frames] : due) {
    decoder_->Decode(frames, [this](const Sequence& sequence, std::span<const float> samples) {
      Deliver(sequence, samples);
    });
  }
  for (const Sequence* sequence : sequences) {
    if (sequence->finish_reason) decoder_->End(*sequence);
  }
  seconds_ += SecondsSince(start);
}

std::vector<std::vector<float>> AudioOutput::Finish(const std::vector<Sequence>& sequences) {
  std::vector<const Sequence*> all;  // those that were cancelled may have frames left
  for (const Sequence& sequence : sequences) all.push_back(&sequence);
  Add(all);
  return std::move(audio_);
}

}  // namespace csm::engine

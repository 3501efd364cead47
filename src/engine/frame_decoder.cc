#include "engine/frame_decoder.h"

namespace csm::engine {

void CpuFrameDecoder::Decode(std::span<const Frames> sequences, const Sink& sink) {
  if (sequences.empty()) return;
  active_.clear();
  codes_.clear();
  for (const Frames& frames : sequences) {
    const std::span<const int32_t> codes = frames.codes();
    codes_.insert(codes_.end(), codes.begin(), codes.end());
    const int index = frames.sequence->index;
    active_.push_back(&streams_.try_emplace(index, codec_).first->second);
  }
  const auto num_frames = static_cast<size_t>(sequences[0].count);
  const size_t num_samples = num_frames * static_cast<size_t>(codec_.config.frame_size());
  samples_.resize(sequences.size() * num_samples);
  decoder_.Step(active_, codes_.data(), num_frames,
                static_cast<size_t>(sequences[0].sequence->codes.num_codebooks), samples_.data());
  for (size_t s = 0; s < sequences.size(); ++s) {
    sink(*sequences[s].sequence, std::span(samples_).subspan(s * num_samples, num_samples));
  }
}

}  // namespace csm::engine

#include "engine/frame_decoder.h"

#include <algorithm>
#include <cassert>

namespace csm::engine {

// Streams are decoded together up to a piece of frames in all: more would share the weights no
// better and take more memory.
void CpuFrameDecoder::Decode(std::span<const Frames> sequences, const Sink& sink) {
  constexpr auto kPiece = static_cast<int64_t>(mimi::kFramesPerPiece);
  while (!sequences.empty()) {
    const int64_t count = sequences[0].count;
    const auto group = static_cast<size_t>(std::max<int64_t>(1, kPiece / count));
    const auto together = sequences.first(std::min(group, sequences.size()));
    std::vector<Frames> piece(together.begin(), together.end());
    for (int64_t done = 0; done < count; done += kPiece) {
      for (size_t s = 0; s < piece.size(); ++s) {
        assert(together[s].count == count);
        piece[s].first = together[s].first + done;
        piece[s].count = std::min(kPiece, count - done);
      }
      DecodeTogether(piece, sink);
    }
    for (const Frames& frames : together) {
      if (frames.sequence->finish_reason) End(*frames.sequence);
    }
    sequences = sequences.subspan(together.size());
  }
}

void CpuFrameDecoder::DecodeTogether(std::span<const Frames> sequences, const Sink& sink) {
  active_.clear();
  codes_.clear();
  for (const Frames& frames : sequences) {
    const std::span<const int32_t> codes = frames.codes();
    codes_.insert(codes_.end(), codes.begin(), codes.end());
    const int index = frames.sequence->index;
    active_.push_back(&streams_.try_emplace(index, codec_).first->second);
  }
  assert(std::ranges::all_of(
      codes_, [&](int32_t code) { return code >= 0 && code < codec_.config.codebook_size; }));
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

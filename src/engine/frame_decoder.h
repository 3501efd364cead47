// Frames into samples while sequences are spoken.
#ifndef CSM_ENGINE_FRAME_DECODER_H_
#define CSM_ENGINE_FRAME_DECODER_H_

#include <functional>
#include <map>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "engine/frame_stepper.h"

namespace csm::engine {

/// A stream of audio for each sequence of a call. Not thread-safe.
class FrameDecoder {
 public:
  FrameDecoder() = default;
  FrameDecoder(const FrameDecoder&) = delete;
  FrameDecoder& operator=(const FrameDecoder&) = delete;
  virtual ~FrameDecoder() = default;

  /// Called with the samples [frame_size] of a sequence's last frame.
  using Sink = std::function<void(const Sequence& sequence, std::span<const float> samples)>;
  /// Decodes the last frame of each sequence, which had all its earlier ones decoded.
  virtual void Decode(std::span<const Sequence* const> sequences, const Sink& sink) = 0;
  /// The sequence has no more frames.
  virtual void End(const Sequence& sequence) = 0;
};

/// By this library's own kernels.
class CpuFrameDecoder final : public FrameDecoder {
 public:
  explicit CpuFrameDecoder(const MimiModel& codec) : codec_(codec) {}

  void Decode(std::span<const Sequence* const> sequences, const Sink& sink) override {
    for (const Sequence* sequence : sequences) {
      const auto frame = LastFrame(*sequence);
      auto& decoder = decoders_.try_emplace(sequence->index, codec_).first->second;
      sink(*sequence, decoder.push({static_cast<int>(frame.size()), {frame.begin(), frame.end()}}));
    }
  }
  // A decoder's window of attention is tens of MB.
  void End(const Sequence& sequence) override { decoders_.erase(sequence.index); }

 private:
  const MimiModel& codec_;
  std::map<int, MimiModel::Decoder> decoders_;  // by the sequence's index
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_FRAME_DECODER_H_

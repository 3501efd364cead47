// Frames into samples while sequences are spoken.
#ifndef CSM_ENGINE_FRAME_DECODER_H_
#define CSM_ENGINE_FRAME_DECODER_H_

#include <functional>
#include <limits>
#include <map>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "engine/frame_stepper.h"
#include "mimi/codec.h"

namespace csm::engine {

/// A stream of audio for each sequence of a call. Not thread-safe.
class FrameDecoder {
 public:
  FrameDecoder() = default;
  FrameDecoder(const FrameDecoder&) = delete;
  FrameDecoder& operator=(const FrameDecoder&) = delete;
  virtual ~FrameDecoder() = default;

  /// Some frames of a sequence.
  struct Frames {
    const Sequence* sequence;
    int64_t first, count;

    std::span<const int32_t> codes() const {
      const auto size = static_cast<size_t>(sequence->codes.num_codebooks);
      return std::span(sequence->codes.data)
          .subspan(static_cast<size_t>(first) * size, static_cast<size_t>(count) * size);
    }
  };
  /// Called with a sequence's samples [count * frame_size].
  using Sink = std::function<void(const Sequence& sequence, std::span<const float> samples)>;
  /// Decodes frames of each sequence, `count` of all the same, 1 to MostFrames(); the earlier ones
  /// were decoded. Codes must be in the codec's range. May call `sink` several times for each.
  virtual void Decode(std::span<const Frames> sequences, const Sink& sink) = 0;
  virtual int64_t MostFrames() const = 0;
  /// The sequence has no more frames.
  virtual void End(const Sequence& sequence) = 0;
};

/// By this library's own kernels.
class CpuFrameDecoder final : public FrameDecoder {
 public:
  explicit CpuFrameDecoder(const MimiModel::Impl& codec) : codec_(codec), decoder_(codec) {}

  void Decode(std::span<const Frames> sequences, const Sink& sink) override;
  int64_t MostFrames() const override { return std::numeric_limits<int64_t>::max(); }
  // A stream's window of attention is 16 MB at the published geometry.
  void End(const Sequence& sequence) override { streams_.erase(sequence.index); }

 private:
  void DecodeTogether(std::span<const Frames> sequences, const Sink& sink);

  const MimiModel::Impl& codec_;
  mimi::StreamDecoder decoder_;
  std::map<int, mimi::DecoderState> streams_;  // by the sequence's index
  std::vector<mimi::DecoderState*> active_;
  std::vector<int32_t> codes_;
  std::vector<float> samples_;
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_FRAME_DECODER_H_

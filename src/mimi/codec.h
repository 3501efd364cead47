// What the public csm::MimiModel holds, and the streams between audio and latents.
#ifndef CSM_MIMI_CODEC_H_
#define CSM_MIMI_CODEC_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/runtime.h"
#include "checkpoint/model_dir.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "mimi/conv.h"
#include "mimi/quantizer.h"
#include "mimi/rows.h"
#include "mimi/seanet.h"
#include "mimi/transformer.h"

namespace csm {

/// Weights of the codec, with the memory that they lie in and the threads that compute.
struct MimiModel::Impl {
  Impl(const MimiConfig& mimi_config, checkpoint::WeightLoader& loader,
       checkpoint::WeightLoader& decoder_loader, const std::string& prefix, const Runtime& threads);

  MimiConfig config;
  Runtime runtime;
  mimi::SeanetEncoder encoder;
  mimi::Transformer encoder_transformer;
  mimi::Conv1d downsample;  ///< from encodec_frame_rate to frame_rate
  mimi::SplitResidualVectorQuantizer quantizer;
  mimi::ConvTranspose1d upsample;
  mimi::Transformer decoder_transformer;
  mimi::SeanetDecoder decoder;
  std::shared_ptr<const void> encoder_memory, decoder_memory;

  ThreadPool& pool() const { return runtime.impl()->pool; }
};

namespace mimi {

/// Builds the codec of an opened checkpoint; the result keeps its tensors alive. Weights are used
/// as stored, but of a model that is quantized to `dtype` the decoder's are f16: a step of one
/// frame then reads half the bytes. LoadOptions::dtype does not touch the encoder, whose codes
/// would change.
std::shared_ptr<const MimiModel::Impl> LoadMimi(const checkpoint::MimiCheckpoint& checkpoint,
                                                const Runtime& runtime,
                                                std::optional<DType> dtype = std::nullopt);

/// Frames of a piece when a whole file is coded: enough rows to share each read of the weights,
/// few enough to keep memory small (states and buffers grow to about 45 MB at the published
/// geometry). Measured there: 16 frames take 7 % longer, 64 no less.
constexpr size_t kFramesPerPiece = 32;

/// Samples to latents: SEANet, transformer, downsampling.
class LatentEncoder {
 public:
  explicit LatentEncoder(const MimiModel::Impl& model);

  /// Appends to latents [frames, hidden_size] the frames that these samples complete; is_end: and
  /// the one that the end of the signal completes.
  void Step(std::span<const float> samples, bool is_end, Rows& latents);

 private:
  const MimiModel::Impl& model_;
  SeanetEncoder::State seanet_;
  Transformer::State transformer_;
  Transformer::Scratch transformer_scratch_;
  Conv1d::State downsample_;
  ConvScratch downsample_scratch_;
  Rows hidden_;
};

/// What a decoder remembers of a stream.
struct DecoderState {
  explicit DecoderState(const MimiModel::Impl& model);
  ConvTranspose1d::State upsample;
  Transformer::State transformer;
  SeanetDecoder::State seanet;
};

/// Codes to samples: quantizer, upsampling, transformer, SEANet. Holds buffers: not thread-safe.
class StreamDecoder {
 public:
  explicit StreamDecoder(const MimiModel::Impl& model);

  /// Writes samples [streams, num_frames * frame_size] of codes [streams, num_frames,
  /// num_codebooks], which must be in range. A stream's bits do not depend on the others.
  void Step(Streams<DecoderState> streams, const int32_t* codes, size_t num_frames,
            size_t num_codebooks, float* samples);

 private:
  const MimiModel::Impl& model_;
  QuantizerScratch quantizer_;
  ConvScratch upsample_;
  Transformer::Scratch transformer_;
  SeanetDecoder::Scratch seanet_;
  Rows latents_, hidden_;
};

}  // namespace mimi
}  // namespace csm

#endif  // CSM_MIMI_CODEC_H_

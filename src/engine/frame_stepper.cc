#include "engine/frame_stepper.h"

#include "base/philox.h"
#include "engine/sampler.h"

namespace csm::engine {

double UniformFor(const Sequence& sequence, int64_t codebook, const StepOptions& options) {
  return UniformAt(options.seed, sequence.random_sequence,
                   static_cast<uint64_t>(sequence.codes.num_frames() - 1),
                   static_cast<uint64_t>(codebook));
}

int32_t ChooseFor(const Sequence& sequence, int64_t codebook, std::span<float> logits,
                  const CsmConfig& model, const StepOptions& options, std::span<float> scores) {
  if (options.callbacks.logits_processor) {
    const int frame = sequence.codes.num_frames() - 1;
    options.callbacks.logits_processor(sequence.index, frame, static_cast<int>(codebook), logits);
  }
  MaskUndecodable(model.codec_config.codebook_size, logits);
  const SamplingConfig& sampling = codebook == 0 ? options.config : options.config.depth_decoder;
  return ChooseCode(sampling, logits, UniformFor(sequence, codebook, options), scores);
}

int32_t ChooseCode0(Sequence& sequence, std::span<float> logits, const CsmConfig& model,
                    const StepOptions& options) {
  if (options.config.output_logits) {
    sequence.logits.insert(sequence.logits.end(), logits.begin(), logits.end());
  }
  std::span<float> scores;
  if (options.config.output_scores) {
    const size_t offset = sequence.scores.size();
    sequence.scores.resize(offset + logits.size());
    scores = std::span(sequence.scores).subspan(offset);
  }
  return ChooseFor(sequence, 0, logits, model, options, scores);
}

std::span<int32_t> AppendFrame(Sequence& sequence) {
  Codes& codes = sequence.codes;
  codes.data.resize(codes.data.size() + static_cast<size_t>(codes.num_codebooks));
  return LastFrame(sequence);
}

void FinishIfLast(Sequence& sequence, const CsmConfig& model) {
  const std::span<const int32_t> frame = LastFrame(sequence);
  if (AreEnd(frame.first(frame.size() - 1), model)) {
    sequence.finish_reason = FinishReason::kStop;
  } else if (sequence.codes.num_frames() >= sequence.max_frames) {
    sequence.finish_reason = FinishReason::kLength;
  }
}

}  // namespace csm::engine

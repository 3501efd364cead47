#include "engine/frame_stepper.h"

#include "base/clock.h"
#include "base/philox.h"
#include "engine/sampler.h"

namespace csm::engine {

void FrameStepper::RunBackbone(std::span<Sequence* const> sequences,
                               const model::HiddenObserver& observer) {
  const int64_t width = backbone_.config.hidden_size;
  backbone_.stack.Forward(segments_, hidden_, scratch_, backbone_.runtime.impl()->pool, observer);
  const float* end = hidden_.data();
  for (size_t s = 0; s < sequences.size(); ++s) {
    end += segments_[s].num_rows * width;
    sequences[s]->hidden.assign(end - width, end);
  }
}

void FrameStepper::Prefill(std::span<Sequence* const> sequences,
                           std::span<const Matrix* const> prompts,
                           const model::HiddenObserver& observer) {
  segments_.clear();
  hidden_.clear();
  for (size_t s = 0; s < sequences.size(); ++s) {
    segments_.push_back({&sequences[s]->cache.impl(), prompts[s]->rows});
    hidden_.insert(hidden_.end(), prompts[s]->data.begin(), prompts[s]->data.end());
  }
  const auto start = Clock::now();
  RunBackbone(sequences, observer);
  times_.prefill += SecondsSince(start);
}

void FrameStepper::Advance(std::span<Sequence* const> sequences) {
  const auto width = static_cast<size_t>(backbone_.config.hidden_size);
  segments_.clear();
  hidden_.resize(sequences.size() * width);
  for (size_t s = 0; s < sequences.size(); ++s) {
    const Codes& codes = sequences[s]->codes;
    backbone_.EmbedFrame(codes.frame(codes.num_frames() - 1), hidden_.data() + s * width);
    segments_.push_back({&sequences[s]->cache.impl(), 1});
  }
  const auto start = Clock::now();
  RunBackbone(sequences);
  times_.backbone += SecondsSince(start);
}

int32_t FrameStepper::Choose(const Sequence& sequence, int64_t codebook,
                             const SamplingConfig& sampling, std::span<float> logits,
                             const StepOptions& options, std::span<float> scores) const {
  const int frame = sequence.codes.num_frames() - 1;
  if (options.callbacks.logits_processor) {
    options.callbacks.logits_processor(sequence.index, frame, static_cast<int>(codebook), logits);
  }
  MaskUndecodable(backbone_.config.codec_config.codebook_size, logits);
  const double uniform = UniformAt(options.seed, sequence.random_sequence,
                                   static_cast<uint64_t>(frame), static_cast<uint64_t>(codebook));
  return ChooseCode(sampling, logits, uniform, scores);
}

int32_t FrameStepper::ChooseCode0(Sequence& sequence, std::span<float> logits,
                                  const StepOptions& options) const {
  if (options.config.output_logits) {
    sequence.logits.insert(sequence.logits.end(), logits.begin(), logits.end());
  }
  std::span<float> scores;
  if (options.config.output_scores) {
    const size_t offset = sequence.scores.size();
    sequence.scores.resize(offset + logits.size());
    scores = std::span(sequence.scores).subspan(offset);
  }
  return Choose(sequence, 0, options.config, logits, options, scores);
}

void FrameStepper::NextFrame(std::span<Sequence* const> sequences, const StepOptions& options) {
  const CsmConfig& config = backbone_.config;
  const auto width = static_cast<size_t>(config.hidden_size);
  const auto vocab_size = static_cast<size_t>(config.vocab_size);
  hidden_.clear();
  for (const Sequence* sequence : sequences) {
    hidden_.insert(hidden_.end(), sequence->hidden.begin(), sequence->hidden.end());
  }
  logits_.resize(sequences.size() * vocab_size);
  auto start = Clock::now();
  backbone_.Logits(hidden_, std::ssize(sequences), logits_.data());
  times_.heads += SecondsSince(start);

  std::vector<DepthTask> tasks;
  for (size_t s = 0; s < sequences.size(); ++s) {
    Codes& codes = sequences[s]->codes;
    codes.data.resize(codes.data.size() + static_cast<size_t>(codes.num_codebooks));
    const std::span<int32_t> frame = codes.frame(codes.num_frames() - 1);
    frame[0] =
        ChooseCode0(*sequences[s], std::span(logits_).subspan(s * vocab_size, vocab_size), options);
    tasks.push_back({std::span(hidden_).subspan(s * width, width), frame});
  }
  start = Clock::now();
  const double heads_before = depth_loop_.head_seconds();
  depth_loop_.Run(tasks, [&](size_t s, int64_t codebook, std::span<float> logits) {
    return Choose(*sequences[s], codebook, options.config.depth_decoder, logits, options);
  });
  const double heads = depth_loop_.head_seconds() - heads_before;
  times_.heads += heads;
  times_.depth_decoder += SecondsSince(start) - heads;
  for (Sequence* sequence : sequences) {
    const int num_frames = sequence->codes.num_frames();
    const auto frame = sequence->codes.frame(num_frames - 1);
    if (AreEnd(frame.first(frame.size() - 1), config)) {
      sequence->finish_reason = FinishReason::kStop;
    } else if (num_frames >= sequence->max_frames) {
      sequence->finish_reason = FinishReason::kLength;
    }
  }
}

}  // namespace csm::engine

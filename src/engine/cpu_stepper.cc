#include "engine/cpu_stepper.h"

#include "base/clock.h"

namespace csm::engine {

void CpuStepper::RunBackbone(std::span<Sequence* const> sequences,
                             const model::HiddenObserver& observer) {
  const int64_t width = backbone_.config.hidden_size;
  backbone_.stack.Forward(segments_, hidden_, scratch_, backbone_.runtime.impl()->pool, observer);
  const float* end = hidden_.data();
  for (size_t s = 0; s < sequences.size(); ++s) {
    end += segments_[s].num_rows * width;
    sequences[s]->hidden.assign(end - width, end);
  }
}

void CpuStepper::Prefill(std::span<Sequence* const> sequences,
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

void CpuStepper::Fork(const Sequence& from, Sequence& to) {
  to.cache.impl() = const_cast<Sequence&>(from).cache.impl();
  to.hidden = from.hidden;
}

void CpuStepper::Advance(std::span<Sequence* const> sequences) {
  const auto width = static_cast<size_t>(backbone_.config.hidden_size);
  segments_.clear();
  hidden_.resize(sequences.size() * width);
  for (size_t s = 0; s < sequences.size(); ++s) {
    backbone_.embeddings.EmbedFrame(LastFrame(*sequences[s]), hidden_.data() + s * width);
    segments_.push_back({&sequences[s]->cache.impl(), 1});
  }
  const auto start = Clock::now();
  RunBackbone(sequences);
  times_.backbone += SecondsSince(start);
}

void CpuStepper::NextFrame(std::span<Sequence* const> sequences, const StepOptions& options) {
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

  tasks_.clear();
  for (size_t s = 0; s < sequences.size(); ++s) {
    const std::span<int32_t> frame = AppendFrame(*sequences[s]);
    frame[0] = ChooseCode0(*sequences[s], std::span(logits_).subspan(s * vocab_size, vocab_size),
                           config, options);
    tasks_.push_back({std::span(hidden_).subspan(s * width, width), frame});
  }
  start = Clock::now();
  const double heads_before = depth_loop_.head_seconds();
  const auto choose = [&](size_t s, int64_t codebook, std::span<float> logits) {
    return ChooseFor(*sequences[s], codebook, logits, config, options);
  };
  depth_loop_.Run(tasks_, std::ref(choose));  // a copy of the lambda would be allocated
  const double heads = depth_loop_.head_seconds() - heads_before;
  times_.heads += heads;
  times_.depth_decoder += SecondsSince(start) - heads;
  for (Sequence* sequence : sequences) FinishIfLast(*sequence, config);
}

}  // namespace csm::engine

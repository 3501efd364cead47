#include "engine/depth_loop.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/philox.h"
#include "engine/sampler.h"

namespace csm::engine {

void DepthLoop::Prepare(size_t num_tasks) {
  const CsmDepthDecoderConfig& config = decoder_.config;
  while (caches_.size() < num_tasks) caches_.emplace_back(config.num_codebooks);
  segments_.resize(num_tasks);
  for (size_t s = 0; s < num_tasks; ++s) {
    caches_[s].crop(0);
    segments_[s] = {&caches_[s].impl(), 2};
  }
  embeddings_.resize(num_tasks * 2 * static_cast<size_t>(config.backbone_hidden_size));
  hidden_.resize(num_tasks * 2 * static_cast<size_t>(config.hidden_size));
  logits_.resize(num_tasks * static_cast<size_t>(config.vocab_size));
}

void DepthLoop::Choose(std::span<const DepthTask> tasks, int64_t codebook, int64_t rows_per_task,
                       const ChooseDepthCode& choose) {
  const int64_t width = decoder_.config.hidden_size;
  const auto vocab_size = static_cast<size_t>(decoder_.config.vocab_size);
  const float* last_rows = hidden_.data() + (rows_per_task - 1) * width;
  const auto start = Clock::now();
  decoder_.Logits(codebook, last_rows, std::ssize(tasks), rows_per_task * width, logits_.data());
  head_seconds_ += SecondsSince(start);
  for (size_t s = 0; s < tasks.size(); ++s) {
    tasks[s].frame[static_cast<size_t>(codebook)] =
        choose(s, codebook, std::span(logits_).subspan(s * vocab_size, vocab_size));
  }
}

void DepthLoop::Run(std::span<const DepthTask> tasks, const ChooseDepthCode& choose) {
  const int64_t width = decoder_.config.backbone_hidden_size;
  ThreadPool& pool = decoder_.runtime.impl()->pool;
  Prepare(tasks.size());
  const auto num_tasks = std::ssize(tasks);
  for (int64_t codebook = 1; codebook < decoder_.config.num_codebooks; ++codebook) {
    const int64_t rows_per_task = codebook == 1 ? 2 : 1;
    float* out = embeddings_.data();
    for (int64_t s = 0; s < num_tasks; ++s) {
      const DepthTask& task = tasks[static_cast<size_t>(s)];
      if (codebook == 1) {
        out = std::copy(task.backbone_hidden.begin(), task.backbone_hidden.end(), out);
      }
      decoder_.EmbedCode(codebook - 1, task.frame[static_cast<size_t>(codebook - 1)], out);
      out += width;
      segments_[static_cast<size_t>(s)].num_rows = rows_per_task;
    }
    const int64_t num_rows = num_tasks * rows_per_task;
    decoder_.Project(embeddings_.data(), num_rows, scratch_, hidden_.data());
    const auto size = static_cast<size_t>(num_rows * decoder_.config.hidden_size);
    decoder_.stack.Forward(segments_, std::span(hidden_).first(size), scratch_, pool);
    Choose(tasks, codebook, rows_per_task, choose);
  }
}

}  // namespace csm::engine

namespace csm {

std::vector<int32_t> CsmDepthDecoderForCausalLM::generate(
    std::span<const float> backbone_last_hidden_state, int32_t code0,
    const SamplingConfig& sampling, uint64_t seed, uint64_t sequence, uint64_t frame) const {
  const CsmDepthDecoderConfig& config = impl_->model->config;
  if (std::ssize(backbone_last_hidden_state) != config.backbone_hidden_size) {
    Fail<ArgumentError>("backbone_last_hidden_state has {} values; backbone_hidden_size is {}",
                        backbone_last_hidden_state.size(), config.backbone_hidden_size);
  }
  GenerationConfig checked;
  static_cast<SamplingConfig&>(checked) = sampling;
  checked.validate();
  std::vector<int32_t> codes(static_cast<size_t>(config.num_codebooks));
  codes[0] = code0;
  const engine::DepthTask task{backbone_last_hidden_state, codes};
  engine::DepthLoop(*impl_->model)
      .Run({&task, 1}, [&](size_t, int64_t codebook, std::span<float> logits) {
        engine::MaskUndecodable(impl_->model->codebook_size, logits);
        const double uniform = UniformAt(seed, sequence, frame, static_cast<uint64_t>(codebook));
        return engine::ChooseCode(sampling, logits, uniform);
      });
  return codes;
}

}  // namespace csm

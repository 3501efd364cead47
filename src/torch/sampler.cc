#include "torch/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/philox.h"
#include "text/labels.h"

namespace csm::train {
namespace {

// What a random number is for: the third word of its counter.
enum Purpose : uint64_t { kOrder, kBatchOrder, kDepthLabels };

// The numbers 0 to count - 1, shuffled.
std::vector<size_t> Shuffled(size_t count, uint64_t seed, uint64_t epoch, Purpose purpose) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = count; i > 1; --i) {
    const double uniform = UniformAt(seed, epoch, i, purpose);
    std::swap(order[i - 1], order[static_cast<size_t>(uniform * static_cast<double>(i))]);
  }
  return order;
}

}  // namespace

std::vector<std::vector<size_t>> EpochBatches(std::span<const size_t> lengths, size_t batch_size,
                                              uint64_t seed, uint64_t epoch) {
  constexpr size_t kBatchesPerPool = 50;  // sorted together, as HF's group_by_length does
  std::vector<size_t> order = Shuffled(lengths.size(), seed, epoch, kOrder);
  const size_t pool_size = batch_size * kBatchesPerPool;
  std::vector<std::vector<size_t>> batches;
  for (size_t first = 0; first < order.size(); first += pool_size) {
    const size_t last = std::min(first + pool_size, order.size());
    const std::span<size_t> pool(order.data() + first, last - first);
    std::stable_sort(pool.begin(), pool.end(),
                     [&](size_t a, size_t b) { return lengths[a] > lengths[b]; });
    for (size_t i = 0; i < pool.size(); i += batch_size) {
      const auto part = pool.subspan(i, std::min(batch_size, pool.size() - i));
      batches.emplace_back(part.begin(), part.end());
    }
  }
  std::vector<std::vector<size_t>> shuffled;
  for (const size_t i : Shuffled(batches.size(), seed, epoch, kBatchOrder)) {
    shuffled.push_back(std::move(batches[i]));
  }
  return shuffled;
}

void DrawDepthLabels(std::span<Sample> samples, const CsmConfig& config, double ratio,
                     uint64_t seed, uint64_t step) {
  std::vector<std::pair<double, int32_t*>> draws;
  for (Sample& sample : samples) {
    for (size_t t = 0; t < sample.labels.size(); ++t) {
      if (sample.labels[t] != config.audio_token_id) continue;
      const double uniform = UniformAt(seed, step, draws.size(), kDepthLabels);
      draws.emplace_back(uniform, &sample.labels[t]);
    }
  }
  const auto num_skipped = static_cast<size_t>(static_cast<double>(draws.size()) * (1 - ratio));
  std::stable_sort(draws.begin(), draws.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < num_skipped; ++i) *draws[i].second = text::kBackboneOnly;
}

StepSampler::StepSampler(std::vector<Sample> samples, const CsmConfig& config,
                         const TrainOptions& options, int rank, int size)
    : samples_(std::move(samples)),
      config_(config),
      options_(options),
      rank_(static_cast<size_t>(rank)),
      size_(static_cast<size_t>(size)),
      batch_size_(static_cast<size_t>(options.per_device_train_batch_size) * size_) {
  const auto accumulated = static_cast<size_t>(options.gradient_accumulation_steps);
  const size_t num_batches = (samples_.size() + batch_size_ - 1) / batch_size_;
  steps_per_epoch_ = static_cast<int64_t>((num_batches + accumulated - 1) / accumulated);
  num_steps_ = options.max_steps > 0
                   ? options.max_steps
                   : static_cast<int64_t>(std::ceil(options.num_train_epochs *
                                                    static_cast<double>(steps_per_epoch_)));
}

void StepSampler::BeginEpoch(int64_t epoch) {
  if (epoch == epoch_) return;
  std::vector<size_t> lengths;
  for (const Sample& sample : samples_) lengths.push_back(sample.input_ids.size());
  batches_ = EpochBatches(lengths, batch_size_, static_cast<uint64_t>(options_.seed),
                          static_cast<uint64_t>(epoch));
  epoch_ = epoch;
}

StepShare StepSampler::Step(int64_t step) {
  BeginEpoch(step / steps_per_epoch_);
  const auto accumulated = static_cast<size_t>(options_.gradient_accumulation_steps);
  const auto first = static_cast<size_t>(step % steps_per_epoch_) * accumulated;
  const size_t last = std::min(first + accumulated, batches_.size());
  StepShare share;
  for (size_t b = first; b < last; ++b) {
    std::vector<Sample> rows;
    for (const size_t index : batches_[b]) rows.push_back(samples_[index]);
    DrawDepthLabels(rows, config_, options_.depth_decoder_labels_ratio,
                    static_cast<uint64_t>(options_.seed),
                    static_cast<uint64_t>(step) * accumulated + (b - first));
    for (const Sample& row : rows) share.targets.Add(CountTargets(row));
    // Rows are sorted by length: a process takes every size-th, so that all have like work.
    std::vector<Sample> own;
    for (size_t r = rank_; r < rows.size(); r += size_) own.push_back(std::move(rows[r]));
    if (!own.empty()) share.batches.push_back(std::move(own));
  }
  return share;
}

}  // namespace csm::train

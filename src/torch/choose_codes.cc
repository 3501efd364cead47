#include "torch/choose_codes.h"

#include <cmath>
#include <limits>

namespace csm::train {
namespace {

constexpr double kDropped = -std::numeric_limits<double>::infinity();
constexpr int64_t kTopHCandidates = 100;        // as transformers' TopHLogitsWarper
constexpr double kSmallestTemperature = 1e-30;  // below it, logits divided by it overflow f32

torch::Tensor Keep(const torch::Tensor& scores, const torch::Tensor& keep) {
  return scores.masked_fill(keep.logical_not(), kDropped);
}

// As in the engine's sampler, in f64; 0 for what was dropped.
torch::Tensor Probabilities(const torch::Tensor& scores) {
  return torch::softmax(scores, -1, torch::kFloat64);
}

torch::Tensor EntropyTerms(const torch::Tensor& p) { return -torch::xlogy(p, p); }

// Scores from the best to the worst, of equals the lower code first, and the codes they are of.
struct Sorted {
  torch::Tensor scores, codes;
};
Sorted BestFirst(const torch::Tensor& scores) {
  auto [sorted, codes] = torch::sort(scores, /*stable=*/true, /*dim=*/-1, /*descending=*/true);
  return {sorted, codes};
}

// `keep` is in the order of `sorted`.
torch::Tensor KeepSorted(const torch::Tensor& scores, const Sorted& sorted,
                         const torch::Tensor& keep) {
  return Keep(scores, torch::zeros_like(keep).scatter(-1, sorted.codes, keep));
}

torch::Tensor Temperature(double temperature, const torch::Tensor& scores) {
  if (temperature >= kSmallestTemperature) return scores / static_cast<float>(temperature);
  const torch::Tensor distance = scores.to(torch::kFloat64) - scores.amax(-1, /*keepdim=*/true);
  return (distance / temperature).to(torch::kFloat32);
}

torch::Tensor TopH(double top_h, const torch::Tensor& scores) {
  const Sorted sorted = BestFirst(scores);
  const int64_t count = std::min(kTopHCandidates, scores.size(-1));
  const torch::Tensor terms = EntropyTerms(Probabilities(sorted.scores.narrow(-1, 0, count)));
  const torch::Tensor entropy = terms.sum(-1, /*keepdim=*/true);
  torch::Tensor keep = torch::zeros_like(scores, torch::kBool);
  keep.narrow(-1, 0, count).copy_(terms.cumsum(-1) <= entropy * top_h);
  keep.narrow(-1, 0, 1).fill_(true);
  return KeepSorted(scores, sorted, keep);
}

torch::Tensor TopK(int64_t top_k, const torch::Tensor& scores) {
  if (top_k >= scores.size(-1)) return scores;
  const torch::Tensor best = std::get<0>(scores.topk(top_k, -1));
  return Keep(scores, scores >= best.narrow(-1, top_k - 1, 1));
}

torch::Tensor TopP(double top_p, const torch::Tensor& scores) {
  const Sorted sorted = BestFirst(scores);
  // Of each and all that are less likely.
  const torch::Tensor rest = Probabilities(sorted.scores).flip(-1).cumsum(-1).flip(-1);
  torch::Tensor keep = rest.to(torch::kFloat32) > static_cast<float>(1 - top_p);
  keep.narrow(-1, 0, 1).fill_(true);
  return KeepSorted(scores, sorted, keep);
}

// `least`: [rows, 1] or a number.
template <typename Least>
torch::Tensor KeepFrom(const Least& least, const torch::Tensor& p, const torch::Tensor& scores) {
  const torch::Tensor is_best = p == p.amax(-1, /*keepdim=*/true);
  return Keep(scores, (p >= least).logical_or(is_best));
}

torch::Tensor MinP(double min_p, const torch::Tensor& scores) {
  const torch::Tensor p = Probabilities(scores);
  return KeepFrom(p.amax(-1, /*keepdim=*/true) * min_p, p, scores);
}

torch::Tensor Typical(double mass, const torch::Tensor& scores) {
  const torch::Tensor p = Probabilities(scores);
  const torch::Tensor entropy = EntropyTerms(p).sum(-1, /*keepdim=*/true);
  // Dropped codes are infinitely far.
  const torch::Tensor distance = (-p.log() - entropy).abs().to(torch::kFloat32);
  auto [sorted, order] = torch::sort(distance, /*stable=*/true, /*dim=*/-1, /*descending=*/false);
  const torch::Tensor cumulative = p.gather(-1, order).cumsum(-1).to(torch::kFloat32);
  const torch::Tensor is_short = cumulative < static_cast<float>(mass);
  const torch::Tensor num_candidates = (scores > kDropped).sum(-1, /*keepdim=*/true);
  const torch::Tensor last =
      torch::minimum(is_short.to(torch::kInt64).cumprod(-1).sum(-1, /*keepdim=*/true),
                     num_candidates - 1)
          .clamp_min(0);
  return Keep(scores, (distance <= sorted.gather(-1, last)).logical_and(scores > kDropped));
}

torch::Tensor EtaCutoff(double epsilon, const torch::Tensor& scores) {
  const torch::Tensor p = Probabilities(scores);
  const torch::Tensor entropy = EntropyTerms(p).sum(-1, /*keepdim=*/true);
  const torch::Tensor least = (torch::exp(-entropy) * std::sqrt(epsilon)).clamp_max(epsilon);
  return KeepFrom(least, p, scores);
}

torch::Tensor Warp(const SamplingConfig& config, torch::Tensor scores) {
  if (config.temperature != 1.0) scores = Temperature(config.temperature, scores);
  if (config.top_h) scores = TopH(*config.top_h, scores);
  if (config.top_k != 0) scores = TopK(config.top_k, scores);
  if (config.top_p < 1.0) scores = TopP(config.top_p, scores);
  if (config.min_p) scores = MinP(*config.min_p, scores);
  if (config.typical_p < 1.0) scores = Typical(config.typical_p, scores);
  if (config.epsilon_cutoff > 0) {
    scores = KeepFrom(config.epsilon_cutoff, Probabilities(scores), scores);
  }
  if (config.eta_cutoff > 0) scores = EtaCutoff(config.eta_cutoff, scores);
  return scores;
}

// Inverts the cumulative distribution, in the order of the codes.
torch::Tensor Draw(const torch::Tensor& scores, const torch::Tensor& uniforms) {
  const torch::Tensor p = Probabilities(scores);
  const torch::Tensor drawn = (p.cumsum(-1) <= uniforms.unsqueeze(-1)).sum(-1);
  // The probabilities can sum to a little less than 1: the last possible code takes the rest.
  const torch::Tensor codes = torch::arange(p.size(-1), drawn.options());
  const torch::Tensor last = codes.masked_fill(p <= 0, 0).amax(-1);
  return torch::minimum(drawn, last);
}

}  // namespace

torch::Tensor ChooseCodes(const SamplingConfig& config, const torch::Tensor& logits,
                          const torch::Tensor& uniforms) {
  return config.do_sample ? Draw(Warp(config, logits), uniforms) : logits.argmax(-1);
}

torch::Tensor IsSound(const torch::Tensor& logits) {
  // NaN is not below infinity either.
  const torch::Tensor is_sound = (logits < std::numeric_limits<float>::infinity()).all(-1);
  return is_sound.logical_and((logits > kDropped).any(-1));
}

}  // namespace csm::train

#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace csm::engine {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();
constexpr size_t kTopHCandidates = 100;  // TopHLogitsWarper looks at no more than these

using Candidates = std::vector<Candidate>;

// What a choice computes in, kept by each thread: a frame makes 32 choices.
struct Workspace {
  Candidates candidates, sorted;
  std::vector<double> probabilities;
  std::vector<float> distances;
  std::vector<size_t> order;

  /// Nothing grows later, however few candidates the first choices leave.
  void Reserve(size_t vocab_size) {
    candidates.reserve(vocab_size);
    sorted.reserve(vocab_size);
    probabilities.reserve(vocab_size);
    distances.reserve(vocab_size);
    order.reserve(vocab_size);
  }
};

Workspace& ThisThreads() {
  thread_local Workspace workspace;
  return workspace;
}

bool ByCode(const Candidate& a, const Candidate& b) { return a.code < b.code; }
bool BestFirst(const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.code < b.code);
}

float MaxScore(const Candidates& candidates) {
  return std::max_element(candidates.begin(), candidates.end(),
                          [](const auto& a, const auto& b) { return a.score < b.score; })
      ->score;
}

// Probabilities of the candidates in their order. The sum is in double: torch's is in f32, and the
// exact value is the one that its roundings scatter around. Valid until the next call.
const std::vector<double>& Softmax(const Candidates& candidates) {
  const double max = MaxScore(candidates);
  std::vector<double>& result = ThisThreads().probabilities;
  result.clear();
  double sum = 0;
  for (const Candidate& candidate : candidates) {
    result.push_back(std::exp(static_cast<double>(candidate.score) - max));
    sum += result.back();
  }
  for (double& p : result) p /= sum;
  return result;
}

double EntropyTerm(double p) { return p > 0 ? -p * std::log(p) : 0; }

// Keeps the candidates for which keep(index, candidate) holds; `keep` must hold for one at least.
template <typename Keep>
void Filter(Candidates& candidates, const Keep& keep) {
  size_t kept = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (keep(i, candidates[i])) candidates[kept++] = candidates[i];
  }
  candidates.resize(kept);
}

void Temperature(double temperature, Candidates& candidates) {
  const float best = MaxScore(candidates);
  if (std::isfinite(best / static_cast<float>(temperature))) {
    for (Candidate& candidate : candidates) candidate.score /= static_cast<float>(temperature);
    return;
  }
  // So close to 0 that f32 overflows, where HF fails: distances from the best do not.
  for (Candidate& candidate : candidates) {
    const double distance = static_cast<double>(candidate.score) - best;
    candidate.score = static_cast<float>(distance / temperature);
  }
}

// The most likely candidates whose entropy terms sum to at most top_h of the whole entropy.
void TopH(double top_h, Candidates& candidates) {
  std::sort(candidates.begin(), candidates.end(), BestFirst);
  candidates.resize(std::min(candidates.size(), kTopHCandidates));
  const std::vector<double>& p = Softmax(candidates);
  double entropy = 0;
  for (const double each : p) entropy += EntropyTerm(each);
  double cumulative = EntropyTerm(p[0]);
  size_t kept = 1;
  while (kept < p.size() && (cumulative += EntropyTerm(p[kept])) <= top_h * entropy) ++kept;
  candidates.resize(kept);
}

// Ties at the k-th place are all kept.
void TopK(int64_t top_k, Candidates& candidates) {
  const auto k = static_cast<size_t>(top_k);
  if (k >= candidates.size()) return;
  Candidates& sorted = ThisThreads().sorted;
  sorted.assign(candidates.begin(), candidates.end());
  const auto kth = sorted.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(sorted.begin(), kth, sorted.end(), BestFirst);
  Filter(candidates, [least = kth->score](size_t, const auto& c) { return c.score >= least; });
}

// From the least likely up, drops while the cumulative probability is at most 1 - top_p.
void TopP(double top_p, Candidates& candidates) {
  std::sort(candidates.begin(), candidates.end(), BestFirst);
  const std::vector<double>& p = Softmax(candidates);
  size_t kept = candidates.size();
  // Compared in f32, as HF does: at a cumulative probability of exactly 1 - top_p the rounding
  // decides.
  const auto limit = static_cast<float>(1 - top_p);
  double cumulative = 0;
  while (kept > 1 && static_cast<float>(cumulative += p[kept - 1]) <= limit) --kept;
  candidates.resize(kept);
}

// Drops what is less likely than `least`, but never the most likely one.
void DropBelow(double least, const std::vector<double>& p, Candidates& candidates) {
  const double best = *std::max_element(p.begin(), p.end());
  Filter(candidates, [&](size_t i, const auto&) { return p[i] >= least || p[i] == best; });
}

void MinP(double min_p, Candidates& candidates) {
  const std::vector<double>& p = Softmax(candidates);
  DropBelow(min_p * *std::max_element(p.begin(), p.end()), p, candidates);
}

// Keeps those whose information is nearest to the entropy, until their probability reaches `mass`;
// equals of the last one stay.
void Typical(double mass, Candidates& candidates) {
  const std::vector<double>& p = Softmax(candidates);
  double entropy = 0;
  for (const double each : p) entropy += EntropyTerm(each);
  std::vector<float>& distance = ThisThreads().distances;
  distance.clear();
  for (const double each : p)
    distance.push_back(static_cast<float>(std::abs(-std::log(each) - entropy)));
  std::vector<size_t>& order = ThisThreads().order;
  order.resize(p.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return distance[a] < distance[b] || (distance[a] == distance[b] && a < b);
  });
  double cumulative = 0;
  size_t last = 0;
  while (last + 1 < order.size() &&
         static_cast<float>(cumulative += p[order[last]]) < static_cast<float>(mass))
    ++last;
  Filter(candidates, [&, limit = distance[order[last]]](size_t i, const auto&) {
    return distance[i] <= limit;
  });
}

void EpsilonCutoff(double epsilon, Candidates& candidates) {
  DropBelow(epsilon, Softmax(candidates), candidates);
}

void EtaCutoff(double epsilon, Candidates& candidates) {
  const std::vector<double>& p = Softmax(candidates);
  double entropy = 0;
  for (const double each : p) entropy += EntropyTerm(each);
  DropBelow(std::min(epsilon, std::sqrt(epsilon) * std::exp(-entropy)), p, candidates);
}

int32_t Draw(const Candidates& candidates, double uniform) {
  const std::vector<double>& p = Softmax(candidates);
  double cumulative = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    cumulative += p[i];
    if (uniform < cumulative) return candidates[i].code;
  }
  // The probabilities can sum to a little less than 1: the last possible code takes the rest.
  for (size_t i = p.size(); i-- > 0;) {
    if (p[i] > 0) return candidates[i].code;
  }
  return candidates.back().code;
}

int32_t ArgMax(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

void Warp(const SamplingConfig& config, Candidates& candidates) {
  if (config.temperature != 1.0) Temperature(config.temperature, candidates);
  if (config.top_h) TopH(*config.top_h, candidates);
  if (config.top_k != 0) TopK(config.top_k, candidates);
  if (config.top_p < 1.0) TopP(config.top_p, candidates);
  if (config.min_p) MinP(*config.min_p, candidates);
  if (config.typical_p < 1.0) Typical(config.typical_p, candidates);
  if (config.epsilon_cutoff > 0) EpsilonCutoff(config.epsilon_cutoff, candidates);
  if (config.eta_cutoff > 0) EtaCutoff(config.eta_cutoff, candidates);
  std::sort(candidates.begin(), candidates.end(), ByCode);
}

void MaskUndecodable(int64_t codebook_size, std::span<float> logits) {
  const size_t first = std::min(static_cast<size_t>(codebook_size), logits.size());
  std::fill(logits.begin() + static_cast<std::ptrdiff_t>(first), logits.end(), kDropped);
}

int32_t ChooseCode(const SamplingConfig& config, std::span<const float> logits, double uniform,
                   std::span<float> scores) {
  ThisThreads().Reserve(logits.size());
  Candidates& candidates = ThisThreads().candidates;
  candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<float>::infinity()) {
      Fail<Error>("the model computed a logit of {}; its weights or its input are not sound",
                  logits[i]);
    }
    if (logits[i] != kDropped) candidates.push_back({static_cast<int32_t>(i), logits[i]});
  }
  if (candidates.empty()) Fail<Error>("no code can be chosen: every logit is -inf");
  if (config.do_sample) Warp(config, candidates);
  if (!scores.empty()) {
    std::fill(scores.begin(), scores.end(), kDropped);
    for (const Candidate& c : candidates) scores[static_cast<size_t>(c.code)] = c.score;
  }
  return config.do_sample ? Draw(candidates, uniform) : ArgMax(logits);
}

}  // namespace csm::engine

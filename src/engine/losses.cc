#include "engine/losses.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/labels.h"

namespace csm::engine {
namespace {

// Frames whose depth decoder runs go through together; 32 frames of csm-1b are 1,024 rows.
constexpr size_t kFramesPerPass = 32;

/// A labelled frame and the backbone state that predicts it.
struct Target {
  std::vector<int32_t> frame;     ///< [num_codebooks]
  std::span<const float> hidden;  ///< backbone state one position earlier
  std::span<const float> logits;  ///< of codebook 0 there; empty for a row's first position
  bool learn_depth = true;
};

double CrossEntropy(std::span<const float> logits, int32_t label) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return max + std::log(sum) - static_cast<double>(logits[static_cast<size_t>(label)]);
}

void AppendTargets(const LossRow& in, const CsmConfig& config, std::vector<Target>& targets) {
  const auto& ids = in.row.input_ids;
  if (in.row.labels.size() != ids.size()) {
    Fail<ArgumentError>("a row has {} input_ids and {} labels; each id needs one", ids.size(),
                        in.row.labels.size());
  }
  const std::vector<int32_t> end_of_audio(static_cast<size_t>(config.num_codebooks),
                                          static_cast<int32_t>(config.codebook_eos_token_id));
  int next_frame = 0;
  for (size_t t = 0; t < ids.size(); ++t) {
    const bool is_audio = ids[t] == config.audio_token_id && in.frames.num_frames() > 0;
    const int frame = is_audio ? next_frame++ : 0;
    if (in.row.labels[t] == text::kIgnore) continue;
    if (!is_audio && ids[t] != config.audio_eos_token_id) {
      Fail<ArgumentError>("position {} has label {} but is not audio; only audio can be learnt", t,
                          in.row.labels[t]);
    }
    const auto codes = is_audio ? in.frames.frame(frame) : std::span<const int32_t>(end_of_audio);
    const auto before = static_cast<int64_t>(t == 0 ? ids.size() - 1 : t - 1);
    targets.push_back({.frame = {codes.begin(), codes.end()},
                       .hidden = in.hidden.row(before),
                       .logits = t == 0 ? std::span<const float>() : in.logits.row(before),
                       .learn_depth = in.row.labels[t] != text::kBackboneOnly});
  }
}

// Sum of the cross-entropies of codebooks 1.. of these frames.
double DepthLoss(std::span<const Target* const> targets, const CsmDepthDecoderModel::Impl& depth,
                 model::Scratch& scratch) {
  const CsmDepthDecoderConfig& config = depth.config;
  const int64_t positions = config.num_codebooks, width = config.backbone_hidden_size;
  const auto num_rows = std::ssize(targets) * positions;
  std::vector<KvCache> caches(targets.size());
  std::vector<model::Segment> segments;
  Matrix embeddings(num_rows, width), hidden(num_rows, config.hidden_size);
  for (size_t m = 0; m < targets.size(); ++m) {
    const auto first = static_cast<int64_t>(m) * positions;
    std::copy(targets[m]->hidden.begin(), targets[m]->hidden.end(), embeddings.row(first).begin());
    for (int64_t p = 1; p < positions; ++p) {
      depth.EmbedCode(p - 1, targets[m]->frame[static_cast<size_t>(p - 1)],
                      embeddings.row(first + p).data());
    }
    segments.push_back({&caches[m].impl(), positions});
  }
  depth.Project(embeddings.data.data(), num_rows, scratch, hidden.data.data());
  depth.stack.Forward(segments, hidden.data, scratch, depth.runtime.impl()->pool);
  Matrix logits(std::ssize(targets), config.vocab_size);
  double sum = 0;
  for (int64_t p = 1; p < positions; ++p) {
    depth.Logits(p, hidden.row(p).data(), logits.rows, positions * config.hidden_size,
                 logits.data.data());
    for (size_t m = 0; m < targets.size(); ++m) {
      sum += CrossEntropy(logits.row(static_cast<int64_t>(m)),
                          targets[m]->frame[static_cast<size_t>(p)]);
    }
  }
  return sum;
}

}  // namespace

Losses ComputeLosses(std::span<const LossRow> rows, const CsmConfig& config,
                     const CsmDepthDecoderModel::Impl& depth_decoder) {
  std::vector<Target> targets;
  for (const LossRow& row : rows) AppendTargets(row, config, targets);
  Losses losses;
  int64_t num_backbone = 0;
  std::vector<const Target*> depth_targets;
  for (const Target& target : targets) {
    if (target.learn_depth) depth_targets.push_back(&target);
    if (target.logits.empty()) continue;
    losses.backbone += CrossEntropy(target.logits, target.frame[0]);
    ++num_backbone;
  }
  if (num_backbone == 0 || depth_targets.empty()) {
    Fail<ArgumentError>("the labels hold no audio frame to learn; give a conversation with audio");
  }
  losses.backbone /= static_cast<double>(num_backbone);
  model::Scratch scratch;
  const std::span<const Target* const> all = depth_targets;
  for (size_t first = 0; first < all.size(); first += kFramesPerPass) {
    const auto pass = all.subspan(first, std::min(kFramesPerPass, all.size() - first));
    losses.depth_decoder += DepthLoss(pass, depth_decoder, scratch);
  }
  losses.depth_decoder /=
      static_cast<double>(std::ssize(depth_targets) * (config.num_codebooks - 1));
  return losses;
}

}  // namespace csm::engine

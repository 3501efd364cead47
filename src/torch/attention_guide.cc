#include "torch/attention_guide.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace csm::train {
namespace {

// Speech is not even: a number takes longer than its digits. The bell is wide enough for that.
constexpr double kMinWidth = 3;       // tokens, one standard deviation
constexpr double kWidthShare = 0.08;  // of the text
constexpr double kLeast = 1e-4;       // share of attention that the loss can tell from none

struct Span {
  int64_t first = 0, last = 0;
  int64_t size() const { return last - first; }
};

// `bells`: [length, length] of a row. The position before a frame predicts it.
void GuideTurn(Span text, Span speech, float* bells, int64_t length) {
  const double width = std::max(kMinWidth, kWidthShare * static_cast<double>(text.size()));
  for (int64_t frame = 0; frame < speech.size(); ++frame) {
    const double progress = (static_cast<double>(frame) + 0.5) / static_cast<double>(speech.size());
    const double centre =
        static_cast<double>(text.first) + progress * static_cast<double>(text.size()) - 0.5;
    float* bell = bells + (speech.first + frame - 1) * length;
    for (int64_t t = text.first; t < text.last; ++t) {
      const double distance = (static_cast<double>(t) - centre) / width;
      bell[t] = static_cast<float>(std::exp(-0.5 * distance * distance));
    }
  }
}

void GuideRow(std::span<const int32_t> ids, const CsmConfig& config, float* bells, int64_t length) {
  Span text, speech;
  for (int64_t t = 0; t < std::ssize(ids); ++t) {
    const int32_t id = ids[static_cast<size_t>(t)];
    if (id == config.bos_token_id) text = {t, t};
    if (id != config.audio_token_id) continue;
    const bool begins = t == 0 || ids[static_cast<size_t>(t - 1)] != config.audio_token_id;
    if (begins) {
      text.last = t;
      speech.first = t;
    }
    speech.last = t + 1;
    const bool ends = speech.last == std::ssize(ids) ||
                      ids[static_cast<size_t>(speech.last)] != config.audio_token_id;
    if (ends && text.size() > 0) GuideTurn(text, speech, bells, length);
  }
}

}  // namespace

torch::Tensor MakeAttentionGuide(std::span<const Sample> samples, const CsmConfig& config,
                                 int64_t length) {
  torch::Tensor wanted = torch::zeros({std::ssize(samples), length, length});
  auto* bells = wanted.data_ptr<float>();
  for (const Sample& sample : samples) {
    GuideRow(sample.input_ids, config, bells, length);
    bells += length * length;
  }
  return wanted;
}

AttentionGuide::AttentionGuide(torch::Tensor wanted, int64_t num_layers)
    : wanted_(std::move(wanted)),
      is_guided_(wanted_.amax(-1) > 0),
      future_(torch::ones({wanted_.size(1), wanted_.size(1)},
                          torch::dtype(torch::kBool).device(wanted_.device()))
                  .triu(1)),
      sum_(torch::zeros({}, wanted_.options())),
      num_guided_(std::max<int64_t>(1, num_layers / 2)) {}

void AttentionGuide::Add(const torch::Tensor& query, const torch::Tensor& key) {
  const double scale = 1 / std::sqrt(static_cast<double>(query.size(2)));
  const torch::Tensor scores = (torch::bmm(query, key.transpose(1, 2)) * scale)
                                   .to(torch::kFloat32)
                                   .masked_fill(future_, -1e9);
  const torch::Tensor share = (scores.softmax(-1) * wanted_).sum(-1);
  sum_ = sum_ - ((share + kLeast).log() * is_guided_).sum();
}

}  // namespace csm::train

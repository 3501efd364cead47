#include "torch/batch.h"

#include <algorithm>

#include "base/error.h"
#include "text/labels.h"

namespace csm::train {
namespace {

torch::Tensor ToTensor(const std::vector<int64_t>& values) { return torch::tensor(values); }

torch::Tensor ToTensor(const std::vector<int64_t>& values, int64_t width) {
  return torch::tensor(values).view({-1, width});
}

// What a batch is made of, as it grows.
class Builder {
 public:
  Builder(const CsmConfig& config, size_t num_rows, size_t length)
      : config_(config),
        length_(length),
        ids_(num_rows * length, 0),
        end_of_audio_(static_cast<size_t>(config.num_codebooks),
                      static_cast<int32_t>(config.codebook_eos_token_id)) {}

  void Add(const Sample& sample, size_t row) {
    const size_t start = row * length_;
    std::copy(sample.input_ids.begin(), sample.input_ids.end(),
              ids_.begin() + static_cast<std::ptrdiff_t>(start));
    int next_frame = 0;
    for (size_t t = 0; t < sample.input_ids.size(); ++t) {
      const int32_t id = sample.input_ids[t];
      const bool is_audio = id == config_.audio_token_id;
      if (!is_audio && id != config_.audio_eos_token_id) continue;
      const std::span<const int32_t> frame =
          is_audio ? sample.frames.frame(next_frame++) : std::span<const int32_t>(end_of_audio_);
      frame_positions_.push_back(static_cast<int64_t>(start + t));
      frames_.insert(frames_.end(), frame.begin(), frame.end());
      const size_t from = start + (t == 0 ? sample.input_ids.size() : t) - 1;
      AddTarget(sample.labels[t], frame, static_cast<int64_t>(from), t == 0);
    }
  }

  Batch Finish() const {
    if (backbone_labels_.empty() || depth_from_.empty()) {
      Fail<ArgumentError>("the labels hold no audio frame to learn; give turns with audio");
    }
    return {.input_ids = ToTensor(ids_, static_cast<int64_t>(length_)),
            .frames = ToTensor(frames_, config_.num_codebooks),
            .frame_positions = ToTensor(frame_positions_),
            .backbone_from = ToTensor(backbone_from_),
            .backbone_labels = ToTensor(backbone_labels_),
            .depth_from = ToTensor(depth_from_),
            .depth_frames = ToTensor(depth_frames_, config_.num_codebooks)};
  }

 private:
  void AddTarget(int32_t label, std::span<const int32_t> frame, int64_t from, bool is_first) {
    if (label == text::kIgnore) return;
    if (!is_first) {
      backbone_from_.push_back(from);
      backbone_labels_.push_back(frame[0]);
    }
    if (label == text::kBackboneOnly) return;
    depth_from_.push_back(from);
    depth_frames_.insert(depth_frames_.end(), frame.begin(), frame.end());
  }

  const CsmConfig& config_;
  size_t length_;
  std::vector<int64_t> ids_, frames_, frame_positions_;
  std::vector<int64_t> backbone_from_, backbone_labels_, depth_from_, depth_frames_;
  std::vector<int32_t> end_of_audio_;
};

}  // namespace

NumTargets CountTargets(const Sample& sample) {
  NumTargets targets;
  for (size_t t = 0; t < sample.labels.size(); ++t) {
    const int32_t label = sample.labels[t];
    if (label == text::kIgnore) continue;
    if (t > 0) ++targets.codes0;
    if (label != text::kBackboneOnly) ++targets.depth_frames;
  }
  return targets;
}

torch::Tensor ShareOfLoss(const LossSums& sums, const NumTargets& all, const CsmConfig& config,
                          double guided_attention) {
  const int64_t num_depth = all.depth_frames * (config.num_codebooks - 1);
  torch::Tensor share = sums.backbone / static_cast<double>(all.codes0) +
                        sums.depth_decoder / static_cast<double>(num_depth);
  if (!sums.attention.defined()) return share;
  return share + sums.attention * (guided_attention / static_cast<double>(all.codes0));
}

void CheckSample(const Sample& sample, const CsmConfig& config) {
  if (sample.labels.size() != sample.input_ids.size()) {
    Fail<ArgumentError>("a conversation has {} positions and {} labels; each needs one",
                        sample.input_ids.size(), sample.labels.size());
  }
  if (std::ssize(sample.input_ids) > config.max_position_embeddings) {
    Fail<ArgumentError>("a conversation has {} positions; the model has {}",
                        sample.input_ids.size(), config.max_position_embeddings);
  }
  const auto is_audio = [&](int32_t id) { return id == config.audio_token_id; };
  const auto num_audio = std::count_if(sample.input_ids.begin(), sample.input_ids.end(), is_audio);
  const auto num_frames = static_cast<std::ptrdiff_t>(sample.frames.num_frames());
  if (num_audio != num_frames) {
    Fail<ArgumentError>("a conversation has {} audio positions and {} frames", num_audio,
                        num_frames);
  }
  if (num_frames > 0 && sample.frames.num_codebooks != config.num_codebooks) {
    Fail<ArgumentError>("the codes have {} codebooks; the model has {}",
                        sample.frames.num_codebooks, config.num_codebooks);
  }
  const auto is_unknown = [&](int32_t id) { return id < 0 || id >= config.text_vocab_size; };
  if (std::any_of(sample.input_ids.begin(), sample.input_ids.end(), is_unknown)) {
    Fail<ArgumentError>("a token's id is outside [0, {})", config.text_vocab_size);
  }
  const auto is_outside = [&](int32_t code) { return code < 0 || code >= config.vocab_size; };
  if (std::any_of(sample.frames.data.begin(), sample.frames.data.end(), is_outside)) {
    Fail<ArgumentError>("a code is outside [0, {})", config.vocab_size);
  }
}

void AddCodeNoise(double share, const CsmConfig& config, Batch& batch) {
  const torch::Tensor frames = batch.frames;
  const torch::Tensor is_audio = frames.ne(config.codebook_eos_token_id).any(1);
  const torch::Tensor others = frames.index({is_audio});
  if (others.size(0) == 0) return;
  const int64_t count = frames.size(0), width = frames.size(1);
  const auto drawn = [&](at::IntArrayRef shape, double chance) {
    return torch::rand(shape) < chance;
  };
  const torch::Tensor elsewhere = others.index_select(0, torch::randint(others.size(0), {count}));
  const torch::Tensor is_wrong = drawn({count, 1}, share) & is_audio.unsqueeze(1);
  const torch::Tensor whole = torch::where(is_wrong, elsewhere, frames);
  const torch::Tensor is_code_wrong = drawn({count, width}, share / 3) & is_audio.unsqueeze(1);
  const torch::Tensor codes =
      torch::randint(config.codec_config.codebook_size, {count, width}, frames.options());
  batch.frames = torch::where(is_code_wrong, codes, whole);
}

Batch MakeBatch(std::span<const Sample> samples, const CsmConfig& config) {
  size_t length = 0;
  for (const Sample& sample : samples) length = std::max(length, sample.input_ids.size());
  Builder builder(config, samples.size(), length);
  for (size_t row = 0; row < samples.size(); ++row) {
    CheckSample(samples[row], config);
    builder.Add(samples[row], row);
  }
  return builder.Finish();
}

}  // namespace csm::train

#include "torch/device_batch.h"

#include <algorithm>
#include <cstring>

namespace csm::train {
namespace {

constexpr int64_t kLeastPrompt = 16;       // prompts are padded to powers of two from here on
constexpr int64_t kMostPositions = 8'192;  // that go through the backbone together

}  // namespace

int64_t PowerOfTwo(int64_t least, int64_t from) {
  while (from < least) from *= 2;
  return from;
}

torch::TensorOptions OptionsOf(const CsmForConditionalGeneration& model) {
  const torch::Tensor& weight = model->lm_head->weight;
  return torch::dtype(weight.scalar_type()).device(weight.device());
}

DeviceBatch::DeviceBatch(const CsmForConditionalGeneration& model, const BatchShape& shape)
    : model_(model),
      shape_(shape),
      options_(OptionsOf(model)),
      cache_(config(), shape.rows, shape.capacity, options_),
      depth_cache_(config().depth_decoder_config, shape.rows, config().num_codebooks, options_),
      steps_(config(), shape.capacity, options_),
      hidden_(torch::zeros({shape.rows, config().hidden_size}, options_)),
      lengths_(torch::zeros({shape.rows}, options_.dtype(torch::kInt64))) {
  const CacheSteps steps(config().depth_decoder_config, config().num_codebooks, options_);
  depth_steps_.push_back(steps.Between(0, 2, shape.rows));  // the backbone's state and code 0
  for (int64_t position = 2; position < config().num_codebooks; ++position) {
    depth_steps_.push_back(steps.Between(position, 1, shape.rows));
  }
}

void DeviceBatch::CopyPast(int64_t row, const KvCache::Impl& past) {
  const int64_t heads = config().num_key_value_heads, width = config().head_dim;
  const auto copy = [&](const float* from, const torch::Tensor& to) {
    const torch::Tensor values =
        torch::from_blob(const_cast<float*>(from), {past.length, heads, width}, torch::kFloat32);
    to[row].narrow(1, 0, past.length).copy_(values.transpose(0, 1));
  };
  for (size_t i = 0; i < cache_.layers.size(); ++i) {
    copy(past.Keys(static_cast<int64_t>(i), 0), cache_.layers[i].keys);
    copy(past.Values(static_cast<int64_t>(i), 0), cache_.layers[i].values);
  }
}

void DeviceBatch::Prefill(int64_t first_row, std::span<const Matrix* const> prompts,
                          std::span<KvCache::Impl* const> past) {
  std::vector<int64_t> starts;
  int64_t longest = 0;
  for (size_t r = 0; r < prompts.size(); ++r) {
    starts.push_back(past[r]->length);
    if (past[r]->length > 0) CopyPast(first_row + static_cast<int64_t>(r), *past[r]);
    longest = std::max(longest, prompts[r]->rows);
  }
  const int64_t length = PowerOfTwo(longest, kLeastPrompt);
  const auto together = static_cast<size_t>(std::max<int64_t>(1, kMostPositions / length));
  for (size_t r = 0; r < prompts.size(); r += together) {
    const size_t count = std::min(together, prompts.size() - r);
    PrefillTogether(first_row + static_cast<int64_t>(r), prompts.subspan(r, count),
                    std::span(starts).subspan(r, count), length);
  }
}

void DeviceBatch::PrefillTogether(int64_t first_row, std::span<const Matrix* const> prompts,
                                  std::span<const int64_t> starts, int64_t length) {
  const auto count = std::ssize(prompts);
  const int64_t width = config().hidden_size;
  torch::Tensor embeddings = torch::zeros({count, length, width}, torch::kFloat32);
  torch::Tensor positions = torch::empty({count, length}, torch::kInt64);
  torch::Tensor last = torch::empty({count}, torch::kInt64);
  int64_t visible = 0;
  for (int64_t r = 0; r < count; ++r) {
    const auto index = static_cast<size_t>(r);
    const Matrix& prompt = *prompts[index];
    std::memcpy(embeddings[r].data_ptr(), prompt.data.data(), prompt.data.size() * sizeof(float));
    positions[r].copy_(torch::arange(starts[index], starts[index] + length));
    last[r] = prompt.rows - 1;
    visible = std::max(visible, starts[index] + length);
  }
  // Padding stands behind the prompt, where frames take its place; what would stand behind the end
  // of the cache goes to its last position, which is the last frame's.
  positions.clamp_max_(shape_.capacity - 1);
  const torch::Device device = options_.device();
  const CacheStep step = steps_.At(positions.to(device), std::min(visible, shape_.capacity));
  StaticCache rows = cache_.Rows(first_row, count);
  const torch::Tensor states = model_->backbone_model->Step(embeddings.to(options_), step, rows);
  const torch::Tensor index = last.to(device).view({count, 1, 1}).expand({count, 1, width});
  hidden_.narrow(0, first_row, count).copy_(states.gather(1, index).squeeze(1));
  lengths_.narrow(0, first_row, count)
      .copy_(last + torch::tensor(at::ArrayRef(starts.data(), starts.size()), torch::kInt64) + 1);
}

void DeviceBatch::CopyRow(int64_t from, int64_t to) {
  cache_.CopyRow(from, to);
  hidden_[to].copy_(hidden_[from]);
  lengths_[to].copy_(lengths_[from]);
}

torch::Tensor DeviceBatch::NextFrame(const Choose& choose) {
  auto& decoder = model_->depth_decoder->model;
  std::vector<torch::Tensor> codes;
  codes.push_back(choose(0, model_->lm_head(hidden_).to(torch::kFloat32)));
  for (int64_t k = 1; k < config().num_codebooks; ++k) {
    torch::Tensor inputs = decoder->Embed(k - 1, codes.back()).unsqueeze(1);
    if (k == 1) inputs = torch::cat({hidden_.unsqueeze(1), inputs}, 1);
    const torch::Tensor states = decoder->Step(
        decoder->Project(inputs), depth_steps_[static_cast<size_t>(k - 1)], depth_cache_);
    const torch::Tensor logits =
        model_->depth_decoder->codebooks_head->Logits(k, states.select(1, states.size(1) - 1));
    codes.push_back(choose(k, logits.to(torch::kFloat32)));
  }
  return torch::stack(codes, 1);
}

void DeviceBatch::Advance(const torch::Tensor& frames) {
  const torch::Tensor embeddings = model_->backbone_model->embed_tokens(frames).unsqueeze(1);
  const CacheStep step = steps_.At(lengths_.unsqueeze(1), shape_.capacity);
  hidden_.copy_(model_->backbone_model->Step(embeddings, step, cache_).squeeze(1));
  lengths_.add_(1).clamp_max_(shape_.capacity - 1);  // rows that have ended go nowhere
}

}  // namespace csm::train

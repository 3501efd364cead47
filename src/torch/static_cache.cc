#include "torch/static_cache.h"

namespace csm::train {

StaticCache::StaticCache(const LlamaConfig& config, int64_t rows, int64_t capacity,
                         const torch::TensorOptions& options) {
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    // Zeros, not whatever lies there: masked positions get a weight of 0, and 0 * NaN is NaN.
    const auto make = [&] {
      return torch::zeros({rows, config.num_key_value_heads, capacity, config.head_dim}, options);
    };
    layers.push_back({make(), make()});
  }
}

StaticCache StaticCache::Rows(int64_t first, int64_t count) const {
  StaticCache rows;
  for (const LayerCache& layer : layers) {
    rows.layers.push_back(
        {layer.keys.narrow(0, first, count), layer.values.narrow(0, first, count)});
  }
  return rows;
}

void StaticCache::Clear() {
  for (LayerCache& layer : layers) {
    layer.keys.zero_();
    layer.values.zero_();
  }
}

void StaticCache::CopyRow(int64_t from, int64_t to) {
  for (LayerCache& layer : layers) {
    layer.keys[to].copy_(layer.keys[from]);
    layer.values[to].copy_(layer.values[from]);
  }
}

CacheSteps::CacheSteps(const LlamaConfig& config, int64_t capacity,
                       const torch::TensorOptions& options)
    : all_(torch::arange(capacity, options.dtype(torch::kInt64))),
      rope_(MakeRopeTable(config, capacity, options)) {}

CacheStep CacheSteps::At(const torch::Tensor& positions, int64_t visible) const {
  const auto angles = [&](const torch::Tensor& table) {
    return table.index_select(0, positions.flatten())
        .view({positions.size(0), 1, positions.size(1), table.size(1)});
  };
  return {positions,
          visible,
          (all_.narrow(0, 0, visible) <= positions.unsqueeze(-1)).unsqueeze(1),
          {angles(rope_.cos), angles(rope_.sin)}};
}

CacheStep CacheSteps::Between(int64_t first, int64_t length, int64_t rows) const {
  const torch::Tensor positions = all_.narrow(0, first, length);
  const int64_t visible = first + length;
  CacheStep step{positions.expand({rows, length}), visible, {}, {}};
  if (length > 1) {
    step.mask =
        (all_.narrow(0, 0, visible) <= positions.unsqueeze(-1)).view({1, 1, length, visible});
  }
  step.rope = {rope_.cos.narrow(0, first, length), rope_.sin.narrow(0, first, length)};
  return step;
}

}  // namespace csm::train

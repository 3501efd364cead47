// Keys and values of a batch at fixed addresses, as HF's StaticCache: what runs on them may be
// recorded once and played again.
#ifndef CSM_TORCH_STATIC_CACHE_H_
#define CSM_TORCH_STATIC_CACHE_H_

#include <torch/torch.h>

#include <cstdint>
#include <vector>

#include "csm/csm.hpp"
#include "torch/layers.h"

namespace csm::train {

/// Of one layer: [rows, key-value heads, capacity, head_dim].
struct LayerCache {
  torch::Tensor keys, values;
};

/// Of one stack.
struct StaticCache {
  StaticCache() = default;
  StaticCache(const LlamaConfig& config, int64_t rows, int64_t capacity,
              const torch::TensorOptions& options);

  /// Rows [first, first + count) of the same memory.
  StaticCache Rows(int64_t first, int64_t count) const;
  void Clear();
  /// Row `to` becomes what row `from` is.
  void CopyRow(int64_t from, int64_t to);

  std::vector<LayerCache> layers;
};

/// Where the next positions of a batch stand in its cache, and what they look at.
struct CacheStep {
  torch::Tensor positions;  ///< [rows, length] of int64: where keys and values go
  int64_t visible = 0;      ///< attention reads the positions [0, visible)
  torch::Tensor mask;       ///< [rows or 1, 1, length, visible]: those it may; undefined: all
  RopeTable rope;           ///< [rows or 1, 1, length, head_dim]
};

/// Rotary angles of all positions of a stack, from which steps take theirs, and the steps.
class CacheSteps {
 public:
  CacheSteps() = default;
  CacheSteps(const LlamaConfig& config, int64_t capacity, const torch::TensorOptions& options);

  /// Positions that differ from row to row, [rows, length]; each looks at those up to its own, all
  /// of which are below `visible`: the positions are data, on which no size may depend.
  CacheStep At(const torch::Tensor& positions, int64_t visible) const;
  /// The positions [first, first + length) of every row.
  CacheStep Between(int64_t first, int64_t length, int64_t rows) const;

 private:
  torch::Tensor all_;  // [capacity]: 0, 1, …
  RopeTable rope_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_STATIC_CACHE_H_

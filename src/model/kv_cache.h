// What the public csm::KvCache holds: rotated keys, and values, of one sequence for one stack.
#ifndef CSM_MODEL_KV_CACHE_H_
#define CSM_MODEL_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "csm/csm.hpp"

namespace csm {

/// Per layer two arrays [capacity, width], width = key-value heads * head_dim: position-major, so
/// that growing copies whole blocks and a step appends one row. Not thread-safe.
struct KvCache::Impl {
  std::optional<int64_t> max_length;  ///< fixed capacity; none: grows
  int64_t num_layers = 0;             ///< 0 until a stack uses the cache
  int64_t width = 0;
  int64_t length = 0;  ///< positions stored

  /// Makes room for `extra` more positions of a stack of this shape. Throws ArgumentError if the
  /// cache belongs to a stack of another shape or its fixed capacity does not suffice.
  void Reserve(int64_t for_num_layers, int64_t for_width, int64_t extra);

  /// Adds the positions of another cache of the same stack; makes room for `extra` more.
  void Append(const Impl& other, int64_t extra);

  float* Keys(int64_t layer, int64_t position) { return At(2 * layer, position); }
  float* Values(int64_t layer, int64_t position) { return At(2 * layer + 1, position); }
  const float* Keys(int64_t layer, int64_t position) const { return At(2 * layer, position); }
  const float* Values(int64_t layer, int64_t position) const { return At(2 * layer + 1, position); }

 private:
  float* At(int64_t array, int64_t position) {
    return arrays_[static_cast<size_t>(array)].data() + position * width;
  }
  const float* At(int64_t array, int64_t position) const {
    return arrays_[static_cast<size_t>(array)].data() + position * width;
  }
  int64_t capacity_ = 0;
  std::vector<std::vector<float>> arrays_;  // keys and values of layer 0, of layer 1, …
};

}  // namespace csm

#endif  // CSM_MODEL_KV_CACHE_H_

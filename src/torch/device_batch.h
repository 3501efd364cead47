// A batch of sequences being spoken on a device: caches and states of fixed size, and the two
// halves of a frame's work. Nothing here asks the device for a value, so that the work of a frame
// may be recorded (frame_program.h).
#ifndef CSM_TORCH_DEVICE_BATCH_H_
#define CSM_TORCH_DEVICE_BATCH_H_

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/kv_cache.h"
#include "torch/modules.h"
#include "torch/static_cache.h"

namespace csm::train {

/// `from`, doubled until it is `least` at least.
int64_t PowerOfTwo(int64_t least, int64_t from);

/// Where a model is, and of what type.
torch::TensorOptions OptionsOf(const CsmForConditionalGeneration& model);

/// Sizes of a batch.
struct BatchShape {
  int64_t rows = 1;
  int64_t capacity = 1;  ///< positions of each row
  bool operator==(const BatchShape&) const = default;
};

/// Not thread-safe. A row that speaks nothing computes along, with what it last held.
class DeviceBatch {
 public:
  /// `model` stays where and of the type it is, and the batch is of its kind.
  DeviceBatch(const CsmForConditionalGeneration& model, const BatchShape& shape);

  /// Forgets all rows: what is masked must be finite too, and the last call may have left worse.
  void Clear() { cache_.Clear(); }
  /// Rows [first_row, …) read prompts of embeddings [positions, hidden_size], each on from the
  /// positions of `past`, if there is one.
  void Prefill(int64_t first_row, std::span<const Matrix* const> prompts,
               std::span<KvCache::Impl* const> past);
  void CopyRow(int64_t from, int64_t to);

  /// From the logits of a codebook [rows, vocab_size], in f32, to codes [rows] of int64.
  using Choose = std::function<torch::Tensor(int64_t codebook, const torch::Tensor& logits)>;
  /// The next frame of every row: [rows, num_codebooks].
  torch::Tensor NextFrame(const Choose& choose);
  /// Feeds a frame of every row back into the backbone.
  void Advance(const torch::Tensor& frames);

  const BatchShape& shape() const { return shape_; }
  const CsmConfig& config() const { return model_->config(); }
  const torch::TensorOptions& options() const { return options_; }  ///< device and type

 private:
  void CopyPast(int64_t row, const KvCache::Impl& past);
  void PrefillTogether(int64_t first_row, std::span<const Matrix* const> prompts,
                       std::span<const int64_t> starts, int64_t length);

  CsmForConditionalGeneration model_;
  BatchShape shape_;
  torch::TensorOptions options_;
  StaticCache cache_, depth_cache_;
  CacheSteps steps_;
  std::vector<CacheStep> depth_steps_;  // number k predicts codebook k + 1
  torch::Tensor hidden_;                // [rows, hidden_size], of the last position
  torch::Tensor lengths_;               // [rows], positions in the cache
};

}  // namespace csm::train

#endif  // CSM_TORCH_DEVICE_BATCH_H_

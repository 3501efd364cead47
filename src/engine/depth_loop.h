// One frame's codebooks 1.., for several sequences at once.
#ifndef CSM_ENGINE_DEPTH_LOOP_H_
#define CSM_ENGINE_DEPTH_LOOP_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "model/depth_decoder.h"

namespace csm::engine {

/// Picks the code of codebook `codebook` for task `task` from its logits [vocab_size], which it may
/// change.
using ChooseDepthCode =
    std::function<int32_t(size_t task, int64_t codebook, std::span<float> logits)>;

/// A frame to complete: frame[0] is given, frame[1..] are written.
struct DepthTask {
  std::span<const float> backbone_hidden;  ///< [backbone_hidden_size], after the final norm
  std::span<int32_t> frame;                ///< [num_codebooks]
};

/// Owns the caches and buffers: after the first frame of as many tasks nothing is allocated. Not
/// thread-safe; the decoder it runs is immutable and may be shared.
class DepthLoop {
 public:
  explicit DepthLoop(const CsmDepthDecoderModel::Impl& decoder) : decoder_(decoder) {}

  /// Runs num_codebooks - 1 steps for all tasks together; each weight is read once a step. The
  /// first step takes two positions a task: the backbone's state and code 0.
  void Run(std::span<const DepthTask> tasks, const ChooseDepthCode& choose);

  double head_seconds() const { return head_seconds_; }  ///< of all runs so far

 private:
  void Prepare(size_t num_tasks);
  void Choose(std::span<const DepthTask> tasks, int64_t codebook, int64_t rows_per_task,
              const ChooseDepthCode& choose);

  const CsmDepthDecoderModel::Impl& decoder_;
  std::vector<KvCache> caches_;
  std::vector<model::Segment> segments_;
  std::vector<float> embeddings_, hidden_, logits_;
  model::Scratch scratch_;
  double head_seconds_ = 0;
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_DEPTH_LOOP_H_

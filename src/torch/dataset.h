// Conversations to learn from, as samples.
#ifndef CSM_TORCH_DATASET_H_
#define CSM_TORCH_DATASET_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "csm/csm.hpp"
#include "torch/batch.h"
#include "torch/code_cache.h"
#include "torch/dataset_files.h"
#include "torch/evaluate.h"

namespace csm::train {

/// Thrown by LoadDataset when it is told to stop.
struct Cancelled {};

struct DatasetCallbacks {
  /// One at a time, but from any thread.
  std::function<void(int64_t files, int64_t total)> on_encode;
  std::function<void(const std::string& sentence)> on_note;  ///< what is not used, and why
  std::function<bool()> is_cancelled;  ///< asked before each file, from any thread
};

struct Dataset {
  std::vector<Sample> samples;
  std::vector<Conversation> first;  ///< the conversations of the first samples, audio as codes
};

/// Encodes the audio of conversations, `num_threads` files at a time. What cannot be learnt from
/// (no audio, a file that cannot be read, more positions than the model has) is left out, which may
/// be all. `num_first`: how many conversations are kept. Throws Cancelled.
Dataset LoadDataset(std::span<const PlacedConversation> conversations,
                    const CsmProcessor& processor, const MimiModel& codec, const CsmConfig& config,
                    TrainOn train_on, const CodeCache& cache, int num_threads, size_t num_first,
                    const DatasetCallbacks& callbacks);

}  // namespace csm::train

#endif  // CSM_TORCH_DATASET_H_

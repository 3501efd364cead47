// Conversations to learn from, as samples.
#ifndef CSM_TORCH_DATASET_H_
#define CSM_TORCH_DATASET_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "csm/csm.hpp"
#include "torch/batch.h"
#include "torch/code_cache.h"
#include "torch/evaluate.h"

namespace csm::train {

/// Thrown by LoadDataset when it is told to stop.
struct Cancelled {};

struct DatasetCallbacks {
  std::function<void(int64_t conversations, int64_t total)> on_encode;
  std::function<void(const std::string& sentence)> on_skip;  ///< one a conversation left out
  std::function<bool()> is_cancelled;                        ///< asked before each conversation
};

/// Reads conversations (dataset_files.h) and encodes their audio. What cannot be learnt from (no
/// audio, a file that cannot be read, more positions than the model has) is left out. Throws
/// FormatError for a file that is no conversation, ArgumentError if nothing is left, Cancelled.
std::vector<Sample> LoadDataset(const std::filesystem::path& file, const CsmProcessor& processor,
                                const MimiModel& codec, const CsmConfig& config, TrainOn train_on,
                                const CodeCache& cache, const DatasetCallbacks& callbacks);

}  // namespace csm::train

#endif  // CSM_TORCH_DATASET_H_

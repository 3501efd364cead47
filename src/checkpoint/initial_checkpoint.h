// A checkpoint before its training: random weights, as transformers initialises them.
#ifndef CSM_CHECKPOINT_INITIAL_CHECKPOINT_H_
#define CSM_CHECKPOINT_INITIAL_CHECKPOINT_H_

#include <cstdint>
#include <filesystem>
#include <optional>

#include "checkpoint/model_dir.h"

namespace csm::checkpoint {

/// A checkpoint of the config in a file, or in a folder's config.json: matrices are normal with
/// deviation `initializer_range` (HF's key, 0.02 if it is missing), norms 1 and biases 0, in f32,
/// drawn by (seed, tensor's name, element). The codec, its config included, is that of the model
/// (CSM or Mimi) at `codec`; none: random as well, and no more than a stand-in. Values are computed
/// when they are asked for, by the threads of `runtime`. Throws FileError, FormatError.
CsmCheckpoint MakeInitialCheckpoint(const std::filesystem::path& config,
                                    const std::optional<std::filesystem::path>& codec,
                                    uint64_t seed, const Runtime& runtime = Runtime(1));

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_INITIAL_CHECKPOINT_H_

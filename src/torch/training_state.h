// A training run on disk: folders OUTPUT/checkpoint-N, each a whole model that transformers and the
// engine load, or an adapter, with what is needed to go on from it.
#ifndef CSM_TORCH_TRAINING_STATE_H_
#define CSM_TORCH_TRAINING_STATE_H_

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/atomic_file.h"
#include "base/json.h"
#include "checkpoint/model_dir.h"
#include "torch/modules.h"
#include "torch/optimizer.h"
#include "torch/totals.h"

namespace csm::train {

/// How far a run is.
struct Position {
  int64_t step = 0;            ///< of the optimiser
  std::optional<double> best;  ///< least evaluation loss of a checkpoint
  int64_t best_step = 0;
  Totals since_log;  ///< losses since the last line of metrics.jsonl
};

/// Writes a model folder: the trained parameters in `dtype` (none: f32), everything else as in
/// `origin`, whose tensors have the names of the parameters.
void SaveModel(const checkpoint::CsmCheckpoint& origin, const CsmProcessor& processor,
               CsmForConditionalGeneration& model, std::optional<DType> dtype,
               const std::filesystem::path& dir);

/// `origin` with the model's parameters, in f32: as they are now, or, if they are f32, as they will
/// be.
checkpoint::CsmCheckpoint TrainedCheckpoint(const checkpoint::CsmCheckpoint& origin,
                                            CsmForConditionalGeneration& model);

/// Writes OUTPUT/checkpoint-STEP and removes the oldest beyond `limit` (0: none), but never the
/// best. Throws FileError; then the checkpoints are as before.
void SaveCheckpoint(const FolderWriter& write_model, const Optimizer& optimizer,
                    const Position& position, const Json& options, int64_t limit,
                    const std::filesystem::path& output);

/// The checkpoint of OUTPUT with the most steps; none if there is none.
std::optional<std::filesystem::path> LastCheckpoint(const std::filesystem::path& output);

/// The options that a checkpoint was trained with. Throws FileError, FormatError.
Json SavedOptions(const std::filesystem::path& checkpoint);

/// Reads the optimiser's state and the position of a checkpoint folder. `options`: this run's; what
/// the steps so far depend on must be as it was. Throws ArgumentError, FileError, FormatError.
Position ResumeFrom(const std::filesystem::path& checkpoint, const Json& options,
                    Optimizer& optimizer);

}  // namespace csm::train

#endif  // CSM_TORCH_TRAINING_STATE_H_

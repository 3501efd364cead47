// The training loop: `csm train`.
#ifndef CSM_TORCH_TRAINER_H_
#define CSM_TORCH_TRAINER_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/json.h"
#include "csm/csm.hpp"
#include "torch/train_options.h"

namespace csm::train {

struct TrainRequest {
  std::filesystem::path model;       ///< a checkpoint folder
  std::filesystem::path train_data;  ///< conversations (dataset_files.h)
  std::filesystem::path eval_data;   ///< empty: no evaluation
  std::filesystem::path output;      ///< folder of the run
  std::filesystem::path cache;       ///< folder of codes; empty: OUTPUT/codes
  TrainOptions options;
  std::string device = "cpu";       ///< device.h
  bool resume = false;              ///< go on from the last checkpoint in `output`
  std::optional<DType> save_dtype;  ///< of the final model's matrices; none: the checkpoint's own
  int num_threads = 0;
};

/// One line of metrics.jsonl.
struct StepMetrics {
  int64_t step = 0;
  double epoch = 0;
  double backbone_loss = 0, depth_decoder_loss = 0;
  double grad_norm = 0;
  double learning_rate = 0;
  double frames_per_second = 0;  ///< learnt in codebook 0, since the last line
};

struct TrainCallbacks {
  /// Audio files; one call at a time, but from any thread.
  std::function<void(int64_t files, int64_t total)> on_encode;
  std::function<void(const std::string& sentence)> on_note;  ///< what was skipped and why
  std::function<void(int64_t step, int64_t total)> on_step;
  std::function<void(const StepMetrics&)> on_log;
  std::function<void(int64_t step, double loss, double backbone, double depth)> on_eval;
  std::function<void(const std::filesystem::path&)> on_save;
  /// Asked before each file and step, from any thread; then the run is saved, if it has begun, and
  /// ends.
  std::function<bool()> is_cancelled;
};

struct TrainResult {
  int64_t step = 0;
  bool is_complete = false;     ///< false: cancelled
  bool is_first = true;         ///< of the processes that train together
  bool has_failed = false;      ///< and the first process says why
  std::filesystem::path model;  ///< or adapter
};

/// The options that the run in `output` was last saved with. Throws ArgumentError if there is none.
Json SavedRunOptions(const std::filesystem::path& output);

/// Trains, perhaps with other processes (processes.h), of which the first writes and calls back:
/// OUTPUT/checkpoint-N, what run_log.h and spoken_samples.h say, and at the end OUTPUT/model, or
/// with lora_r OUTPUT/adapter. Throws Error with what is wrong; checkpoints written before stay.
TrainResult Train(const TrainRequest& request, const TrainCallbacks& callbacks);

}  // namespace csm::train

#endif  // CSM_TORCH_TRAINER_H_

// The training losses of a model on conversations, and their gradients: `csm eval`.
#ifndef CSM_TORCH_EVALUATE_H_
#define CSM_TORCH_EVALUATE_H_

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "csm/csm.hpp"

namespace csm::train {

/// The turns whose audio is learnt; the others are context.
enum class TrainOn { kAll, kLast };
/// "all" or "last".
inline TrainOn ParseTrainOn(std::string_view name) {
  return name == "last" ? TrainOn::kLast : TrainOn::kAll;
}

struct EvalOptions {
  TrainOn train_on = TrainOn::kAll;
  bool grad_norms = false;
  bool parse_special = false;
  std::optional<std::filesystem::path> adapter = {};  ///< LoRA, added to the weights
  std::string device = "cpu";                         ///< device.h
  int num_threads = 0;  ///< 0: one per physical core that this process may use
};

struct EvalResult {
  double backbone_loss = 0;
  double depth_decoder_loss = 0;
  std::map<std::string, double> grad_norms;  ///< of each parameter, by its tensor's name

  double loss() const { return backbone_loss + depth_decoder_loss; }
};

/// The losses of all conversations in a file (dataset_files.h), in f32: means over all their
/// positions, as if they were one batch. Throws FileError, FormatError; ArgumentError if a
/// conversation has no audio to learn.
EvalResult Evaluate(const std::filesystem::path& model, const std::filesystem::path& data,
                    const EvalOptions& options);

}  // namespace csm::train

#endif  // CSM_TORCH_EVALUATE_H_

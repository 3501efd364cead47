// AdamW, or Muon for the layers' matrices and AdamW for the rest. The whole state is a few tensors,
// so that it can be saved and resumed to the bit.
#ifndef CSM_TORCH_OPTIMIZER_H_
#define CSM_TORCH_OPTIMIZER_H_

#include <torch/torch.h>

#include <string>
#include <vector>

#include "torch/processes.h"
#include "torch/train_options.h"

namespace csm::train {

/// The parameters that learn, by name, and their moments. Decay goes to matrices only, as in HF's
/// Trainer: not to norms and biases.
class Optimizer {
 public:
  Optimizer(const torch::nn::Module& model, const TrainOptions& options);

  /// One step with the gradients there are; a parameter without one stays as it is.
  void Step(double learning_rate);
  void ZeroGrad();
  /// Each gradient becomes the sum of all processes' gradients.
  void SumGradients(Processes& processes);
  /// Of all gradients together.
  double GradientNorm() const;
  /// Scales gradients, whose norm is `norm`, to max_norm if it is larger; 0: never.
  void ClipGradients(double max_norm, double norm);

  /// Every tensor of the state by name: exp_avg.NAME, step.NAME and, but for Muon's,
  /// exp_avg_sq.NAME.
  std::vector<std::pair<std::string, torch::Tensor>> State() const;

 private:
  struct Item {
    std::string name;
    torch::Tensor parameter, exp_avg, exp_avg_sq, step;
    bool decays, by_muon;
  };
  void StepAdamW(bool decays, double learning_rate);
  void StepMuon(double learning_rate);

  TrainOptions options_;
  std::vector<Item> items_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_OPTIMIZER_H_

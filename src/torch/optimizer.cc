#include "torch/optimizer.h"

#include <ATen/ops/_fused_adamw.h>

#include "torch/muon.h"

namespace csm::train {

Optimizer::Optimizer(const torch::nn::Module& model, const TrainOptions& options)
    : options_(options) {
  for (const auto& item : model.named_parameters()) {
    const torch::Tensor& parameter = item.value();
    if (!parameter.requires_grad()) continue;
    const bool is_matrix = parameter.dim() > 1;
    const bool is_of_layer = item.key().find(".layers.") != std::string::npos;
    const bool by_muon = options.optim == kMuon && is_matrix && is_of_layer;
    items_.push_back({item.key(), parameter, torch::zeros_like(parameter),
                      by_muon ? torch::Tensor() : torch::zeros_like(parameter),
                      torch::zeros({}, parameter.device()), is_matrix, by_muon});
  }
}

void Optimizer::Step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  StepAdamW(true, learning_rate);
  StepAdamW(false, learning_rate);
  StepMuon(learning_rate);
}

void Optimizer::StepAdamW(bool decays, double learning_rate) {
  std::vector<torch::Tensor> parameters, gradients, exp_avgs, exp_avg_sqs, steps;
  for (Item& item : items_) {
    if (item.by_muon || item.decays != decays || !item.parameter.grad().defined()) continue;
    item.step += 1;
    parameters.push_back(item.parameter);
    gradients.push_back(item.parameter.grad());
    exp_avgs.push_back(item.exp_avg);
    exp_avg_sqs.push_back(item.exp_avg_sq);
    steps.push_back(item.step);
  }
  if (parameters.empty()) return;
  at::_fused_adamw_(parameters, gradients, exp_avgs, exp_avg_sqs, /*max_exp_avg_sqs=*/{}, steps,
                    learning_rate, options_.adam_beta1, options_.adam_beta2,
                    decays ? options_.weight_decay : 0.0, options_.adam_epsilon,
                    /*amsgrad=*/false, /*maximize=*/false);
}

void Optimizer::StepMuon(double learning_rate) {
  for (Item& item : items_) {
    if (!item.by_muon || !item.parameter.grad().defined()) continue;
    item.step += 1;
    item.parameter.mul_(1 - learning_rate * options_.weight_decay);
    item.parameter.sub_(MuonUpdate(item.parameter.grad(), item.exp_avg, options_.bf16),
                        learning_rate);
  }
}

void Optimizer::ZeroGrad() {
  for (Item& item : items_) item.parameter.mutable_grad().reset();
}

void Optimizer::SumGradients(Processes& processes) {
  for (Item& item : items_) {
    torch::Tensor& gradient = item.parameter.mutable_grad();
    // A process without a row in this step has none.
    if (!gradient.defined()) gradient = torch::zeros_like(item.parameter);
    const torch::Tensor sum = gradient.contiguous();  // itself if it is so
    processes.Sum(sum);
    gradient.copy_(sum);
  }
}

double Optimizer::GradientNorm() const {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> norms;
  for (const Item& item : items_) {
    if (item.parameter.grad().defined()) norms.push_back(item.parameter.grad().norm());
  }
  return norms.empty() ? 0 : torch::stack(norms).norm().item<double>();
}

void Optimizer::ClipGradients(double max_norm, double norm) {
  const torch::NoGradGuard no_grad;
  const double scale = max_norm / (norm + 1e-6);  // as torch's clip_grad_norm_
  if (max_norm <= 0 || scale >= 1) return;
  for (Item& item : items_) {
    if (item.parameter.grad().defined()) item.parameter.mutable_grad().mul_(scale);
  }
}

std::vector<std::pair<std::string, torch::Tensor>> Optimizer::State() const {
  std::vector<std::pair<std::string, torch::Tensor>> state;
  for (const Item& item : items_) {
    state.emplace_back("exp_avg." + item.name, item.exp_avg);
    if (!item.by_muon) state.emplace_back("exp_avg_sq." + item.name, item.exp_avg_sq);
    state.emplace_back("step." + item.name, item.step);
  }
  return state;
}

}  // namespace csm::train

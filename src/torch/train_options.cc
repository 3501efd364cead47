#include "torch/train_options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <regex>
#include <span>

#include "base/error.h"

namespace csm::train {
namespace {

constexpr std::array<std::string_view, 4> kSchedules = {"linear", "cosine", "constant",
                                                        "constant_with_warmup"};

constexpr std::array<std::string_view, 2> kTrainOn = {"all", "last"};
constexpr std::array<std::string_view, 2> kOptimizers = {"adamw_torch", kMuon};

template <typename T>
void CheckRange(std::string_view name, T value, T least, T most) {
  if (value >= least && value <= most) return;
  if (most >= static_cast<T>(1e18)) {
    Fail<ArgumentError>("{} is {}; it should be {} or more", name, value, least);
  }
  Fail<ArgumentError>("{} is {}; it should be in [{}, {}]", name, value, least, most);
}

void CheckName(std::string_view name, std::string_view value,
               std::span<const std::string_view> names) {
  if (std::find(names.begin(), names.end(), value) != names.end()) return;
  Fail<ArgumentError>("{} is '{}'; there are {}", name, value, fmt::join(names, ", "));
}

void CheckInteger(std::string_view name, int64_t value, int64_t least) {
  CheckRange(name, value, least, std::numeric_limits<int64_t>::max());
}

void CheckNumber(std::string_view name, double value, double most = 1e30) {
  CheckRange(name, value, 0.0, most);
}

int64_t WarmupSteps(const TrainOptions& options, int64_t num_steps) {
  if (options.warmup_steps > 0) return options.warmup_steps;
  return static_cast<int64_t>(std::ceil(static_cast<double>(num_steps) * options.warmup_ratio));
}

}  // namespace

void TrainOptions::Validate() const {
  CheckNumber("num_train_epochs", num_train_epochs, 1e6);
  CheckInteger("max_steps", max_steps, -1);
  if (max_steps <= 0 && num_train_epochs == 0) {
    Fail<ArgumentError>("num_train_epochs is 0 and max_steps {}: that is no training", max_steps);
  }
  CheckInteger("per_device_train_batch_size", per_device_train_batch_size, 1);
  CheckInteger("per_device_eval_batch_size", per_device_eval_batch_size, 1);
  CheckInteger("gradient_accumulation_steps", gradient_accumulation_steps, 1);
  CheckName("optim", optim, kOptimizers);
  CheckNumber("learning_rate", learning_rate);
  CheckName("lr_scheduler_type", lr_scheduler_type, kSchedules);
  CheckNumber("warmup_ratio", warmup_ratio, 1);
  CheckInteger("warmup_steps", warmup_steps, 0);
  CheckNumber("weight_decay", weight_decay);
  CheckNumber("adam_beta1", adam_beta1, 0.999999);
  CheckNumber("adam_beta2", adam_beta2, 0.999999);
  CheckRange("adam_epsilon", adam_epsilon, 1e-30, 1e30);
  CheckNumber("max_grad_norm", max_grad_norm);
  CheckInteger("logging_steps", logging_steps, 1);
  CheckInteger("eval_steps", eval_steps, 0);
  CheckInteger("save_steps", save_steps, 1);
  CheckInteger("save_total_limit", save_total_limit, 0);
  if (load_best_model_at_end && eval_steps > 0 && save_steps % eval_steps != 0) {
    Fail<ArgumentError>(
        "load_best_model_at_end needs each checkpoint evaluated: save_steps is {}, it should be a "
        "multiple of eval_steps, {}",
        save_steps, eval_steps);
  }
  CheckInteger("seed", seed, 0);
  CheckRange<int64_t>("num_samples", num_samples, 0, 100);
  CheckNumber("depth_decoder_labels_ratio", depth_decoder_labels_ratio, 1);
  CheckNumber("guided_attention", guided_attention, 1000);
  if (guided_attention > 0 && gradient_checkpointing) {
    Fail<ArgumentError>("guided_attention does not go with gradient_checkpointing: give one");
  }
  CheckNumber("code_noise", code_noise, 1);
  CheckName("train_on", train_on, kTrainOn);
  CheckRange<int64_t>("lora_r", lora_r, 0, 4096);
  CheckNumber("lora_alpha", lora_alpha);
  CheckNumber("lora_dropout", lora_dropout, 0.99);
  try {
    const std::regex checked(freeze);
  } catch (const std::regex_error& error) {
    Fail<ArgumentError>("freeze is no regular expression: '{}' ({})", freeze, error.what());
  }
}

double LearningRate(const TrainOptions& options, int64_t step, int64_t num_steps) {
  const int64_t warmup =
      options.lr_scheduler_type == "constant" ? 0 : WarmupSteps(options, num_steps);
  if (step < warmup) {
    return options.learning_rate * static_cast<double>(step) / static_cast<double>(warmup);
  }
  if (options.lr_scheduler_type.starts_with("constant")) return options.learning_rate;
  const double left = static_cast<double>(std::max<int64_t>(1, num_steps - warmup));
  const double progress = static_cast<double>(step - warmup) / left;
  if (options.lr_scheduler_type == "cosine") {
    return options.learning_rate * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
  }
  return options.learning_rate * std::max(0.0, 1 - progress);
}

}  // namespace csm::train

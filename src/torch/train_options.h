// What `csm train` can be told, in the words of Hugging Face's TrainingArguments.
#ifndef CSM_TORCH_TRAIN_OPTIONS_H_
#define CSM_TORCH_TRAIN_OPTIONS_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace csm::train {

inline constexpr std::string_view kMuon = "muon";  ///< of optim, not HF's: see muon.h

/// Defaults are HF Trainer's, but for saving (2 checkpoints are kept, there all) and logging (every
/// 10 steps, there 500), and for the depth decoder, which learns a sixteenth of the frames, as the
/// model's authors trained it.
struct TrainOptions {
  double num_train_epochs = 3;
  int64_t max_steps = -1;  ///< above 0: instead of num_train_epochs
  int64_t per_device_train_batch_size = 8;
  int64_t per_device_eval_batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  std::string optim = "adamw_torch";
  double learning_rate = 5e-5;
  std::string lr_scheduler_type = "linear";
  double warmup_ratio = 0;
  int64_t warmup_steps = 0;  ///< above 0: instead of warmup_ratio
  double weight_decay = 0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1;  ///< 0: gradients are not clipped
  int64_t logging_steps = 10;
  int64_t eval_steps = 0;  ///< 0: with every checkpoint
  bool eval_on_start = false;
  int64_t save_steps = 500;
  int64_t save_total_limit = 2;  ///< 0: all are kept
  bool load_best_model_at_end = false;
  int64_t seed = 42;
  int64_t num_samples = 2;              ///< sentences spoken at each evaluation
  bool bf16 = false;                    ///< autocast; weights and optimiser stay in f32
  bool gradient_checkpointing = false;  ///< layers keep their input alone
  double depth_decoder_labels_ratio = 1.0 / 16;
  double guided_attention = 0;  ///< weight of attention_guide.h's loss; 0: attention is free
  double code_noise = 0;        ///< share of the frames gone before that are heard wrong
  std::string train_on = "all";
  std::string freeze = "";  ///< parameters whose names match this regular expression stay
  int64_t lora_r = 0;       ///< above 0: low-rank terms are trained, all weights stay
  double lora_alpha = 16;
  double lora_dropout = 0;
  std::string lora_target_modules = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj";

  template <typename Self, typename Visitor>
  static void visit_fields(Self& self, Visitor&& visit) {
    visit("num_train_epochs", self.num_train_epochs);
    visit("max_steps", self.max_steps);
    visit("per_device_train_batch_size", self.per_device_train_batch_size);
    visit("per_device_eval_batch_size", self.per_device_eval_batch_size);
    visit("gradient_accumulation_steps", self.gradient_accumulation_steps);
    visit("optim", self.optim);
    visit("learning_rate", self.learning_rate);
    visit("lr_scheduler_type", self.lr_scheduler_type);
    visit("warmup_ratio", self.warmup_ratio);
    visit("warmup_steps", self.warmup_steps);
    visit("weight_decay", self.weight_decay);
    visit("adam_beta1", self.adam_beta1);
    visit("adam_beta2", self.adam_beta2);
    visit("adam_epsilon", self.adam_epsilon);
    visit("max_grad_norm", self.max_grad_norm);
    visit("logging_steps", self.logging_steps);
    visit("eval_steps", self.eval_steps);
    visit("eval_on_start", self.eval_on_start);
    visit("save_steps", self.save_steps);
    visit("save_total_limit", self.save_total_limit);
    visit("load_best_model_at_end", self.load_best_model_at_end);
    visit("seed", self.seed);
    visit("num_samples", self.num_samples);
    visit("bf16", self.bf16);
    visit("gradient_checkpointing", self.gradient_checkpointing);
    visit("depth_decoder_labels_ratio", self.depth_decoder_labels_ratio);
    visit("guided_attention", self.guided_attention);
    visit("code_noise", self.code_noise);
    visit("train_on", self.train_on);
    visit("freeze", self.freeze);
    visit("lora_r", self.lora_r);
    visit("lora_alpha", self.lora_alpha);
    visit("lora_dropout", self.lora_dropout);
    visit("lora_target_modules", self.lora_target_modules);
  }
  bool has_adapter() const { return lora_r > 0; }
  /// Throws ArgumentError naming the first option out of range.
  void Validate() const;
};

/// The learning rate of step `step` (from 0) of `num_steps`, as transformers' schedulers have it.
double LearningRate(const TrainOptions& options, int64_t step, int64_t num_steps);

}  // namespace csm::train

#endif  // CSM_TORCH_TRAIN_OPTIONS_H_

#include "cli/train_settings.h"

#include <array>
#include <initializer_list>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/config_reader.h"
#include "cli/commands.h"
#include "cli/field_options.h"
#include "cli/yaml.h"

namespace csm::cli {
namespace {

constexpr std::array kTrainingHelp = {
    FieldHelp{"num_train_epochs", "X", "Times that every conversation is seen", "Length"},
    FieldHelp{"max_steps", "N", "Above 0: steps in all, instead of epochs", "Length"},
    FieldHelp{"per_device_train_batch_size", "N", "Conversations that go through together", "Step"},
    FieldHelp{"per_device_eval_batch_size", "N", "The same in evaluation", "Step"},
    FieldHelp{"gradient_accumulation_steps", "N", "Batches that make up a step", "Step"},
    FieldHelp{"optim", "NAME",
              "adamw_torch, or muon: Muon for the layers' matrices, AdamW for the rest",
              "Optimiser"},
    FieldHelp{"learning_rate", "X", "The largest of the schedule", "Optimiser"},
    FieldHelp{"lr_scheduler_type", "NAME", "linear, cosine, constant, constant_with_warmup",
              "Optimiser"},
    FieldHelp{"warmup_ratio", "X", "Share of the steps in which the rate rises from 0",
              "Optimiser"},
    FieldHelp{"warmup_steps", "N", "Above 0: the number of these steps, instead of the share",
              "Optimiser"},
    FieldHelp{"weight_decay", "X", "Of matrices; norms and biases do not decay", "Optimiser"},
    FieldHelp{"adam_beta1", "X", "Decay of the running mean of gradients", "Optimiser"},
    FieldHelp{"adam_beta2", "X", "Decay of the running mean of their squares", "Optimiser"},
    FieldHelp{"adam_epsilon", "X", "What is added to the root of the squares' mean", "Optimiser"},
    FieldHelp{"max_grad_norm", "X", "Larger gradients are scaled to it; 0: none is", "Optimiser"},
    FieldHelp{"logging_steps", "N", "Steps from line to line of metrics.jsonl", "Run"},
    FieldHelp{"eval_steps", "N", "Steps from evaluation to evaluation; 0: with checkpoints", "Run"},
    FieldHelp{"eval_on_start", "", "Evaluate, and speak samples, before the first step too", "Run"},
    FieldHelp{"load_best_model_at_end", "",
              "The result is the best checkpoint by evaluation loss, not the last", "Run"},
    FieldHelp{"save_steps", "N", "Steps from checkpoint to checkpoint", "Run"},
    FieldHelp{"save_total_limit", "N", "Checkpoints kept, the best one among them; 0: all", "Run"},
    FieldHelp{"seed", "N", "Of all that is drawn: order, frames, an adapter's beginning, dropout",
              "Run"},
    FieldHelp{"num_samples", "N",
              "Sentences spoken at each evaluation: the last turns of the first\n"
              "conversations in the evaluation data (without one, the training data)",
              "Run"},
    FieldHelp{"gradient_checkpointing", "",
              "Compute a layer's inner values again in the backward pass instead\n"
              "of keeping them: less memory, a third more time",
              "Step"},
    FieldHelp{"bf16", "", "Products in bf16; weights and optimiser stay in f32", "Step"},
    FieldHelp{"depth_decoder_labels_ratio", "X",
              "Share of the frames that the depth decoder learns, drawn anew\nfor each step",
              "Step"},
    FieldHelp{"guided_attention", "X",
              "From nothing: weight of a loss that leads some heads to the text that\n"
              "is being spoken, so that speech follows text sooner; 0: none (try 0.3)",
              "Step"},
    FieldHelp{"code_noise", "X",
              "Share of the frames gone before that are replaced by others, so that\n"
              "a model learns to go on after its own mistakes (try 0.1)",
              "Step"},
    FieldHelp{"train_on", "all|last", "Turns whose audio is learnt; the others are context",
              "Step"},
    FieldHelp{"lora_r", "N", "Above 0: train a LoRA adapter of this rank, not the weights",
              "Adapter (LoRA)"},
    FieldHelp{"lora_alpha", "X", "Its terms are scaled by lora_alpha / lora_r", "Adapter (LoRA)"},
    FieldHelp{"lora_dropout", "X", "Share of its inputs left out in training", "Adapter (LoRA)"},
    FieldHelp{"lora_target_modules", "NAMES", "Modules that get a term, separated by commas",
              "Adapter (LoRA)"},
    FieldHelp{"freeze", "REGEX", "Tensors that stay as they are, by their names", "Step"},
};

// This program's spelling and HF's.
std::string OptionNames(std::string_view field) {
  const std::string dashed = OptionName(field);
  const std::string plain = fmt::format("--{}", field);
  return dashed == plain ? plain : fmt::format("{},{}", dashed, plain);
}

void CheckKeys(const Json& json, const std::string& file) {
  std::set<std::string, std::less<>> fields;
  const train::TrainOptions defaults;
  train::TrainOptions::visit_fields(
      defaults, [&](std::string_view name, const auto&) { fields.emplace(name); });
  for (const auto& [key, value] : json.items()) {
    if (!fields.contains(key)) {
      Fail<FormatError>("{}: there is no option '{}'; there are {}", file, key,
                        fmt::join(fields, ", "));
    }
    if (value.is_null()) {
      Fail<FormatError>("{}: {} is null; leave it out for its default", file, key);
    }
  }
}

Json ParseOptionsFile(const std::filesystem::path& file) {
  const bool is_yaml = file.extension() == ".yaml" || file.extension() == ".yml";
  Json json = is_yaml ? ParseYamlFile(file) : ParseJsonFile(file);
  if (!json.is_object()) {
    Fail<FormatError>("{} holds {}; it should be an object of options", file.string(),
                      JsonTypeName(json));
  }
  return json;
}

// What was asked for should do something.
void CheckEffect(const Json& given, const train::TrainOptions& options, bool evaluates) {
  const auto refuse = [&](std::initializer_list<const char*> names, bool has_no_effect,
                          std::string_view reason) {
    for (const char* name : names) {
      if (has_no_effect && given.contains(name)) {
        throw UsageError(fmt::format("{} has no effect {}", name, reason));
      }
    }
  };
  refuse({"lora_alpha", "lora_dropout", "lora_target_modules"}, !options.has_adapter(),
         "without lora_r");
  refuse({"eval_steps", "per_device_eval_batch_size", "load_best_model_at_end"}, !evaluates,
         "without --eval-data");
  refuse({"eval_on_start"}, !evaluates && options.num_samples == 0,
         "without --eval-data and with num_samples 0");
  refuse({"warmup_ratio", "warmup_steps"}, options.lr_scheduler_type == "constant",
         "with the schedule constant; there is constant_with_warmup");
  refuse({"warmup_ratio"}, options.warmup_steps > 0, "beside warmup_steps");
  refuse({"num_train_epochs"}, options.max_steps > 0, "beside max_steps");
}

}  // namespace

void TrainSettings::AddTo(CLI::App& command) {
  command
      .add_option("--config", file_,
                  "YAML (.yaml, .yml) or JSON file of the options below by the names\n"
                  "that Hugging Face's TrainingArguments have; flags prevail over it")
      ->type_name("FILE");
  train::TrainOptions::visit_fields(flags_, [&](std::string_view name, auto& value) {
    const FieldHelp& help = HelpOf(kTrainingHelp, name);
    CLI::Option* option = nullptr;
    if constexpr (std::is_same_v<std::remove_reference_t<decltype(value)>, bool>) {
      option = command.add_flag(OptionNames(name), value);
    } else {
      option = command.add_option(OptionNames(name), value)->type_name(std::string(help.type));
      option->capture_default_str();
      AddChecks<std::remove_reference_t<decltype(value)>>(*option);
    }
    option->description(std::string(help.text))->group(std::string(help.group));
    given_[std::string(name)] = option;
  });
}

train::TrainOptions TrainSettings::Read(const Json& saved, bool evaluates) const {
  train::TrainOptions options;
  if (saved.is_object()) {
    train::TrainOptions::visit_fields(
        options, checkpoint::FieldReader(saved, {.file = "trainer_state.json"}));
  }
  Json json = Json::object();
  if (!file_.empty()) {
    json = ParseOptionsFile(file_);
    CheckKeys(json, file_);
    train::TrainOptions::visit_fields(options, checkpoint::FieldReader(json, {.file = file_}));
  }
  try {
    flags_.Validate();
  } catch (const ArgumentError& error) {
    throw UsageError(error.what());
  }
  Json flags = Json::object();
  train::TrainOptions::visit_fields(flags_, [&](std::string_view name, const auto& value) {
    if (given_.find(name)->second->count() > 0) flags[std::string(name)] = value;
  });
  train::TrainOptions::visit_fields(options, checkpoint::FieldReader(flags, {.file = "flags"}));
  options.Validate();
  json.update(flags);
  CheckEffect(json, options, evaluates);
  return options;
}

}  // namespace csm::cli

// csm train: a checkpoint learns from conversations.
#include <memory>
#include <optional>

#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/train_settings.h"
#include "cli/training_commands.h"
#include "torch/trainer.h"

namespace csm::cli {
namespace {

constexpr const char* kTrainFooter =
    R"(Writes into the output folder:
  checkpoint-N/   a whole model (with --lora-r: an adapter), and what is needed to go on
                  from step N: --resume, with the options that it was begun with
  codes/          codes of the audio files, so that they are encoded once
  metrics.jsonl   losses, learning rate and speed, a line every logging_steps
  tensorboard/    the same for TensorBoard
  report.html     the same as curves, and sentences spoken at each evaluation
  model/          the model at the end; every command takes it as --model
  adapter/        with --lora-r instead: csm generate --adapter, and peft, take it

Ctrl-C saves a checkpoint and ends.)";

struct TrainCommand {
  ModelOptions model;
  train::TrainRequest request;
  TrainSettings settings;
  std::string train_data, eval_data, output, cache, dtype;
  bool quiet = false;
};

// What a run shows: a bar on a terminal, lines otherwise.
class Display {
 public:
  explicit Display(bool quiet) : quiet_(quiet) {}

  train::TrainCallbacks Callbacks() {
    train::TrainCallbacks callbacks;
    callbacks.is_cancelled = IsInterrupted;
    callbacks.on_encode = [this](int64_t done, int64_t total) {
      if (!encoding_) encoding_.emplace("csm: encoding", "files", total, quiet_);
      encoding_->Update(done);
      if (done == total) encoding_.reset();
    };
    callbacks.on_note = [this](const std::string& sentence) { Line("{}", sentence); };
    callbacks.on_step = [this](int64_t step, int64_t total) {
      if (!steps_) steps_.emplace("csm: training", "steps", total, quiet_);
      steps_->Update(step);
      if (step == total) steps_.reset();
    };
    callbacks.on_log = [this](const train::StepMetrics& m) {
      if (quiet_) return;
      Line(
          "step {}: loss {:.4f} (backbone {:.4f}, depth decoder {:.4f}), gradients {:.3f}, rate "
          "{:.2e}, {:.1f} frames/s",
          m.step, m.backbone_loss + m.depth_decoder_loss, m.backbone_loss, m.depth_decoder_loss,
          m.grad_norm, m.learning_rate, m.frames_per_second);
    };
    callbacks.on_eval = [this](int64_t step, double loss, double backbone, double depth) {
      if (quiet_) return;
      Line("step {}: evaluation loss {:.4f} (backbone {:.4f}, depth decoder {:.4f})", step, loss,
           backbone, depth);
    };
    callbacks.on_save = [this](const std::filesystem::path& dir) {
      if (quiet_) return;
      Line("saved {}", dir.string());
    };
    return callbacks;
  }

 private:
  template <typename... Args>
  void Line(fmt::format_string<Args...> format, Args&&... args) {
    if (steps_) steps_->Finish();
    if (encoding_) encoding_->Finish();
    Say(format, std::forward<Args>(args)...);
  }

  bool quiet_;
  std::optional<Progress> encoding_, steps_;
};

int Run(TrainCommand& command) {
  train::TrainRequest& request = command.request;
  request.options = command.settings.Read(
      request.resume ? train::SavedRunOptions(command.output) : Json(), !command.eval_data.empty());
  if (!command.dtype.empty() && request.options.has_adapter()) {
    throw UsageError("--dtype has no effect with lora_r: an adapter is f32");
  }
  request.model = command.model.Dir();
  request.train_data = command.train_data;
  request.eval_data = command.eval_data;
  request.output = command.output;
  request.cache = command.cache;
  request.num_threads = command.model.Threads().num_threads();
  if (!command.dtype.empty()) request.save_dtype = ParseDType(command.dtype);
  const InterruptGuard guard;
  Display display(command.quiet);
  const train::TrainResult result = train::Train(request, display.Callbacks());
  if (!result.is_first) {
    if (result.has_failed) return kExitError;
    return result.is_complete ? kExitOk : kExitInterrupted;
  }
  if (!result.is_complete) {
    if (result.step > 0) Say("step {} is saved: go on with --resume", result.step);
    return ReportInterrupted();
  }
  Say("{} steps; the {} is {}", result.step, request.options.has_adapter() ? "adapter" : "model",
      result.model.string());
  return kExitOk;
}

}  // namespace

void AddTrain(CLI::App& app, Action& action) {
  auto command = std::make_shared<TrainCommand>();
  CLI::App* sub = app.add_subcommand("train", "Train a checkpoint on conversations");
  sub->footer(kTrainFooter);
  command->model.AddModelTo(*sub);
  sub->add_option("--train-data", command->train_data,
                  "Conversations in Hugging Face's chat form (.json, or .jsonl with\n"
                  "one a line), or single turns: AudioFolder's metadata.csv or\n"
                  "metadata.jsonl, LJSpeech's metadata.csv, or the folder of one")
      ->type_name("PATH")
      ->required();
  sub->add_option("--eval-data", command->eval_data, "The same, to measure on")->type_name("PATH");
  sub->add_option("--output", command->output, "Folder of the run")->type_name("DIR")->required();
  sub->add_option("--cache", command->cache,
                  "Folder that keeps the codes of audio files, for other runs too\n"
                  "(default: codes in the output folder)")
      ->type_name("DIR");
  sub->add_flag("--resume", command->request.resume,
                "Go on from the last checkpoint in the output folder");
  AddTypeTo(*sub, "--dtype", command->dtype, {"f32", "f16", "bf16"},
            "Type of the final model's matrices (default: as in --model)");
  sub->add_flag("--quiet", command->quiet, "Say nothing of progress, losses and checkpoints");
  AddDeviceTo(*sub, command->request.device);
  command->model.AddThreadsTo(*sub);
  command->settings.AddTo(*sub);
  sub->callback([command, &action] { action = [command] { return Run(*command); }; });
}

}  // namespace csm::cli

// csm eval: the losses that training minimises, on conversations.
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/training_commands.h"
#include "torch/evaluate.h"

namespace csm::cli {
namespace {

struct EvalCommand {
  ModelOptions model;
  std::string conversation;
  std::string train_on = "all";
  train::EvalOptions options;
  bool json = false;
};

int Run(EvalCommand& command) {
  command.options.num_threads = command.model.Threads().num_threads();
  command.options.train_on = train::ParseTrainOn(command.train_on);
  const train::EvalResult result =
      train::Evaluate(command.model.Dir(), command.conversation, command.options);
  if (!std::isfinite(result.loss())) {
    Fail<Error>("the loss is not finite; the model's weights are not sound");
  }
  if (!command.json) {
    std::string text = fmt::format("loss {:.6f}: backbone {:.6f}, depth decoder {:.6f}\n",
                                   result.loss(), result.backbone_loss, result.depth_decoder_loss);
    for (const auto& [name, norm] : result.grad_norms) {
      text += fmt::format("{:12.6g}  {}\n", norm, name);
    }
    WriteStandardOutput(text);
    return kExitOk;
  }
  Json json = {{"loss", result.loss()},
               {"backbone_loss", result.backbone_loss},
               {"depth_decoder_loss", result.depth_decoder_loss}};
  if (command.options.grad_norms) json["grad_norms"] = result.grad_norms;
  WriteStandardOutput(json.dump() + "\n");
  return kExitOk;
}

}  // namespace

void AddEval(CLI::App& app, Action& action) {
  auto command = std::make_shared<EvalCommand>();
  CLI::App* sub = app.add_subcommand("eval", "Print the training losses of conversations");
  command->model.AddModelTo(*sub);
  sub->add_option("--conversation", command->conversation,
                  "Conversation in Hugging Face's chat form, or a list of them, as\n"
                  "JSON, or any other data that csm train takes; several are one\n"
                  "batch: means over all their positions")
      ->type_name("PATH")
      ->required();
  sub->add_option("--adapter", command->options.adapter,
                  "LoRA adapter in the peft package's format, added to the weights")
      ->type_name("DIR");
  sub->add_option("--train-on", command->train_on,
                  "Turns whose audio counts: all of them (the default), or the last\n"
                  "with the others as context")
      ->type_name("all|last")
      ->check(CLI::IsMember({"all", "last"}));
  sub->add_flag("--grad-norms", command->options.grad_norms,
                "Print the norm of each tensor's gradient as well");
  sub->add_flag("--parse-special", command->options.parse_special,
                "Let special tokens in the text be tokens, as transformers does");
  sub->add_flag("--json", command->json,
                R"(Print {"loss": …, "backbone_loss": …, "depth_decoder_loss": …,)"
                "\n"
                R"("grad_norms": {tensor: norm}})");
  AddDeviceTo(*sub, command->options.device);
  command->model.AddThreadsTo(*sub);
  sub->callback([command, &action] { action = [command] { return Run(*command); }; });
}

}  // namespace csm::cli

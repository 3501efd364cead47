// csm merge: a checkpoint with an adapter's terms in its weights.
#include <memory>
#include <optional>

#include "base/atomic_file.h"
#include "checkpoint/adapter.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/training_commands.h"

namespace csm::cli {
namespace {

struct MergeCommand {
  ModelOptions model;
  std::string adapter, output, dtype;
};

int Run(const MergeCommand& command) {
  const std::filesystem::path dir = command.model.Dir();
  const std::filesystem::path output = command.output;
  CheckNewFolder(output);
  const CsmProcessor processor = CsmProcessor::from_pretrained(dir);
  std::optional<DType> dtype;
  if (!command.dtype.empty()) dtype = ParseDType(command.dtype);
  const auto merged = checkpoint::WithAdapter(
      checkpoint::OpenCsmCheckpoint(dir), checkpoint::ReadAdapter(command.adapter),
      dtype ? checkpoint::SumType::kF32 : checkpoint::SumType::kStored);
  try {
    const InterruptGuard guard;
    ReplaceFolder(output, [&](const std::filesystem::path& folder) {
      checkpoint::SaveCsmCheckpoint(merged, folder, dtype, ShowBytes("csm: merging"));
      processor.save_pretrained(folder);
    });
  } catch (const Interrupted&) {
    return ReportInterrupted();
  }
  Say("{} is a checkpoint with the adapter in its weights", output.string());
  return kExitOk;
}

}  // namespace

void AddMerge(CLI::App& app, Action& action) {
  auto command = std::make_shared<MergeCommand>();
  CLI::App* sub = app.add_subcommand("merge", "Write a checkpoint with an adapter in its weights");
  command->model.AddModelTo(*sub);
  sub->add_option("--adapter", command->adapter, "LoRA adapter in the peft package's format")
      ->type_name("DIR")
      ->required();
  sub->add_option("--output", command->output, "Folder of the new checkpoint")
      ->type_name("DIR")
      ->required();
  AddTypeTo(*sub, "--dtype", command->dtype, {"f32", "f16", "bf16"},
            "Type of its matrices (default: as in --model)");
  sub->callback([command, &action] { action = [command] { return Run(*command); }; });
}

}  // namespace csm::cli

// csm init: a checkpoint of random weights, to be trained from scratch.
#include <memory>
#include <optional>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/initial_checkpoint.h"
#include "checkpoint/json_file.h"
#include "cli/field_options.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/training_commands.h"

namespace csm::cli {
namespace {

struct InitCommand {
  std::string config, tokenizer, codec, output;
  std::string dtype = "f32";
  uint64_t seed = 42;
};

// Copies what makes a tokenizer. `from`: a folder, or a tokenizer.json by any name.
void CopyTokenizer(const std::filesystem::path& from, const std::filesystem::path& to) {
  const bool is_folder = std::filesystem::is_directory(from);
  const auto folder = is_folder ? from : from.parent_path();
  const auto file = is_folder ? from / "tokenizer.json" : from;
  WriteFileAtomically(to / "tokenizer.json", checkpoint::ReadModelFile(file));
  const auto settings = folder / "tokenizer_config.json";
  if (checkpoint::ModelFileExists(settings)) {
    WriteFileAtomically(to / "tokenizer_config.json", checkpoint::ReadModelFile(settings));
  }
}

// The processor of the model in `dir`, of which the config is there. Throws ArgumentError if the
// tokenizer does not fit it.
CsmProcessor ReadProcessor(const std::filesystem::path& dir, const CsmConfig& config,
                           const std::string& tokenizer) {
  try {
    CsmProcessor processor = CsmProcessor::from_pretrained(dir);
    const int64_t size = processor.tokenizer().vocab_size();
    if (size > config.text_vocab_size) {
      Fail<ArgumentError>("it has {} tokens; the config's text_vocab_size is {}, too few", size,
                          config.text_vocab_size);
    }
    return processor;
  } catch (const Error& error) {
    Fail<ArgumentError>("tokenizer {} does not fit: {}", tokenizer, error.what());
  }
}

int Run(const InitCommand& command) {
  const std::filesystem::path output = command.output;
  CheckNewFolder(output);
  std::optional<std::filesystem::path> codec;
  if (!command.codec.empty()) codec = command.codec;
  const auto initial =
      checkpoint::MakeInitialCheckpoint(command.config, codec, command.seed, Runtime());
  try {
    const InterruptGuard guard;
    ReplaceFolder(output, [&](const std::filesystem::path& dir) {
      // The weights, which take long, come last.
      checkpoint::WriteConfigJson(dir, "config.json", checkpoint::ToJson(initial.config));
      CopyTokenizer(command.tokenizer, dir);
      ReadProcessor(dir, initial.config, command.tokenizer).save_pretrained(dir);
      checkpoint::SaveCsmCheckpoint(initial, dir, ParseDType(command.dtype),
                                    ShowBytes("csm: drawing weights"));
    });
  } catch (const Interrupted&) {
    return ReportInterrupted();
  }
  Say("{} is a checkpoint to be trained, with random weights", output.string());
  if (!codec) {
    Say("its codec is random too, which csm train does not change: --codec takes a trained one");
  }
  return kExitOk;
}

}  // namespace

void AddInit(CLI::App& app, Action& action) {
  auto command = std::make_shared<InitCommand>();
  CLI::App* sub = app.add_subcommand("init", "Write a checkpoint of random weights, to be trained");
  sub->add_option("--config", command->config,
                  "config.json in Hugging Face's form, or the folder of one: the\n"
                  "model's sizes; generation_config.json beside a config.json is\n"
                  "taken along")
      ->type_name("PATH")
      ->required();
  sub->add_option("--tokenizer", command->tokenizer,
                  "tokenizer.json, or the folder of one, with CSM's tokens")
      ->type_name("PATH")
      ->required();
  sub->add_option("--codec", command->codec,
                  "CSM or Mimi model whose codec is taken, its config included;\n"
                  "without it the codec is random")
      ->type_name("MODEL");
  sub->add_option("--output", command->output, "Folder of the checkpoint")
      ->type_name("DIR")
      ->required();
  sub->add_option("--seed", command->seed, "Of the random numbers")
      ->type_name("N")
      ->capture_default_str()
      ->check(CheckInteger<uint64_t>);
  AddTypeTo(*sub, "--dtype", command->dtype, {"f32", "f16", "bf16"},
            "Type of the matrices (default: f32, which training computes in)");
  sub->callback([command, &action] { action = [command] { return Run(*command); }; });
}

}  // namespace csm::cli

#include "cli/training_program.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "base/error.h"

namespace csm::cli {
namespace {

struct TrainingCommand {
  const char *name, *description;
};

constexpr std::array kCommands = {
    TrainingCommand{"init", "Write a checkpoint of random weights, to be trained"},
    TrainingCommand{"train", "Train a checkpoint on conversations"},
    TrainingCommand{"eval", "Print the training losses of conversations"},
    TrainingCommand{"merge", "Write a checkpoint with an adapter in its weights"},
};

std::filesystem::path TrainingProgram() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "csm-training";
}

}  // namespace

bool IsTrainingCommand(std::string_view name) {
  return std::any_of(kCommands.begin(), kCommands.end(),
                     [&](const TrainingCommand& command) { return command.name == name; });
}

void ExecTrainingProgram(char** argv) { execv(TrainingProgram().c_str(), argv); }

void AddTrainingProgram(CLI::App& app, Action& action) {
  const bool is_there = access(TrainingProgram().c_str(), X_OK) == 0;
  for (const auto& [name, description] : kCommands) {
    CLI::App* command =
        app.add_subcommand(name, is_there ? description : "Training: not in this build");
    command->allow_extras();
    command->callback([&action, command = name] {
      action = [command]() -> int {
        Fail<Error>(
            "{} is not in this build: run scripts/setup --torch, then cmake --preset "
            "release-torch && cmake --build --preset release-torch, and take "
            "build/release-torch/bin/csm",
            command);
      };
    });
  }
}

}  // namespace csm::cli

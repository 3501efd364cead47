#include "cli/training_program.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
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

// LibTorch's threads (GNU OpenMP) wait for each other by spinning, 300,000 times, unless told
// otherwise; next to another busy program that turns a step of 0.1 s into seconds. 5,000 keeps the
// speed of an idle machine (two cores, 14 M parameters: 1,150 frames a second; 730 without
// spinning) and 400 frames a second instead of 20 to 350 beside one busy loop.
void LimitSpinning() {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    setenv("GOMP_SPINCOUNT", "5000", /*overwrite=*/0);
  }
}

void ExecTrainingProgram(char** argv) {
  LimitSpinning();
  execv(TrainingProgram().c_str(), argv);
}

void AddTrainingProgram(CLI::App& app, Action& action) {
  const bool is_there = access(TrainingProgram().c_str(), X_OK) == 0;
  const int problem = errno;  // of ExecTrainingProgram
  for (const auto& [name, description] : kCommands) {
    CLI::App* command =
        app.add_subcommand(name, is_there ? description : "Training: not in this build");
    command->allow_extras();
    command->set_help_flag();
    command->callback([&action, is_there, problem, command = name] {
      action = [is_there, problem, command]() -> int {
        if (is_there) {
          Fail<Error>("{} cannot be run: {}", TrainingProgram().string(), std::strerror(problem));
        }
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

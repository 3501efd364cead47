// Stands in for the commands of training in a build without LibTorch.
#include "cli/commands.h"

namespace csm::cli {
namespace {

void AddMissing(CLI::App& app, Action& action, const std::string& name) {
  CLI::App* command = app.add_subcommand(name, "Training: not in this build");
  command->allow_extras();
  command->callback([name, &action] {
    action = [name]() -> int {
      throw Error(name +
                  " is not in this build: run scripts/setup --torch, then cmake --preset "
                  "release-torch && cmake --build --preset release-torch, and take "
                  "build/release-torch/bin/csm");
    };
  });
}

}  // namespace

void AddTraining(CLI::App& app, Action& action) {
  for (const char* name : {"eval", "train", "merge"}) AddMissing(app, action, name);
}

}  // namespace csm::cli

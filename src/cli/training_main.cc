// csm-training: what csm becomes for the commands of training.
#include "cli/program.h"
#include "cli/training_commands.h"

namespace csm::cli {
namespace {

void AddCommands(CLI::App& app, Action& action) {
  AddInit(app, action);
  AddTrain(app, action);
  AddEval(app, action);
  AddMerge(app, action);
}

}  // namespace
}  // namespace csm::cli

int main(int argc, char** argv) { return csm::cli::RunProgram(argc, argv, csm::cli::AddCommands); }

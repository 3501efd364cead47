// csm
#include "cli/program.h"
#include "cli/training_program.h"

namespace csm::cli {
namespace {

void AddCommands(CLI::App& app, Action& action) {
  AddGenerate(app, action);
  AddEncode(app, action);
  AddDecode(app, action);
  AddTokenize(app, action);
  AddForward(app, action);
  AddInfo(app, action);
  AddVerify(app, action);
  AddQuantize(app, action);
  AddVoice(app, action);
  AddBench(app, action);
  AddTrainingProgram(app, action);
}

}  // namespace
}  // namespace csm::cli

int main(int argc, char** argv) {
  if (argc > 1 && csm::cli::IsTrainingCommand(argv[1])) csm::cli::ExecTrainingProgram(argv);
  return csm::cli::RunProgram(argc, argv, csm::cli::AddCommands);
}

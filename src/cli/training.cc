// The commands of training.
#include "cli/training_commands.h"

namespace csm::cli {

void AddTraining(CLI::App& app, Action& action) {
  AddEval(app, action);
  AddTrain(app, action);
  AddMerge(app, action);
}

}  // namespace csm::cli

// The subcommands of csm-training.
#ifndef CSM_CLI_TRAINING_COMMANDS_H_
#define CSM_CLI_TRAINING_COMMANDS_H_

#include "cli/commands.h"

namespace csm::cli {

void AddInit(CLI::App& app, Action& action);
void AddEval(CLI::App& app, Action& action);
void AddTrain(CLI::App& app, Action& action);
void AddMerge(CLI::App& app, Action& action);

}  // namespace csm::cli

#endif  // CSM_CLI_TRAINING_COMMANDS_H_

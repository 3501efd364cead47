// The subcommands of csm-training.
#ifndef CSM_CLI_TRAINING_COMMANDS_H_
#define CSM_CLI_TRAINING_COMMANDS_H_

#include <string>

#include "cli/commands.h"

namespace csm::cli {

void AddInit(CLI::App& app, Action& action);
void AddEval(CLI::App& app, Action& action);
void AddTrain(CLI::App& app, Action& action);
void AddMerge(CLI::App& app, Action& action);

/// --device of the commands that compute with LibTorch.
inline void AddDeviceTo(CLI::App& command, std::string& device) {
  command.add_option("--device", device, "cpu (the default), cuda or cuda:N")->type_name("NAME");
}

}  // namespace csm::cli

#endif  // CSM_CLI_TRAINING_COMMANDS_H_

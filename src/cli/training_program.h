// The commands of training are a program of their own, csm-training, beside csm: with LibTorch,
// whose loading alone takes 0.3 s, they would slow every other command down.
#ifndef CSM_CLI_TRAINING_PROGRAM_H_
#define CSM_CLI_TRAINING_PROGRAM_H_

#include <string_view>

#include "cli/commands.h"

namespace csm::cli {

/// Whether csm-training knows this command.
bool IsTrainingCommand(std::string_view name);

/// Before LibTorch is loaded: its threads then give way to other programs' sooner.
void LimitSpinning();

/// Becomes csm-training, with the same arguments. Returns if there is no such program beside this.
void ExecTrainingProgram(char** argv);

/// Names the commands of training in `app`. Called on, they say how to get a build that has them.
void AddTrainingProgram(CLI::App& app, Action& action);

}  // namespace csm::cli

#endif  // CSM_CLI_TRAINING_PROGRAM_H_

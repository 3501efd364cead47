// What the programs csm and csm-training have in common.
#ifndef CSM_CLI_PROGRAM_H_
#define CSM_CLI_PROGRAM_H_

#include <functional>

#include "cli/commands.h"

namespace csm::cli {

/// Reads the command line with the commands that `add_commands` adds, and does what it asks for;
/// returns the exit code. Whatever goes wrong is said in one sentence.
int RunProgram(int argc, char** argv, const std::function<void(CLI::App&, Action&)>& add_commands);

}  // namespace csm::cli

#endif  // CSM_CLI_PROGRAM_H_

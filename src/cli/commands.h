// The subcommands of `csm`, each in a file of its own.
#ifndef CSM_CLI_COMMANDS_H_
#define CSM_CLI_COMMANDS_H_

#include <CLI/CLI.hpp>
#include <functional>

#include "csm/csm.hpp"

namespace csm::cli {

/// What the command line asks for, to be called once it has been read; returns the exit code.
using Action = std::function<int()>;

/// Each adds a subcommand that sets `action` if it, or one of its own, is chosen.
void AddGenerate(CLI::App& app, Action& action);
void AddEncode(CLI::App& app, Action& action);
void AddDecode(CLI::App& app, Action& action);
void AddTokenize(CLI::App& app, Action& action);
void AddForward(CLI::App& app, Action& action);
void AddInfo(CLI::App& app, Action& action);
void AddVerify(CLI::App& app, Action& action);
void AddQuantize(CLI::App& app, Action& action);
void AddVoice(CLI::App& app, Action& action);
void AddBench(CLI::App& app, Action& action);

inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells have it

/// An option that cannot be understood, or options that contradict each other.
class UsageError : public Error {
 public:
  using Error::Error;
};

}  // namespace csm::cli

#endif  // CSM_CLI_COMMANDS_H_

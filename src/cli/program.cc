// The command line of csm and of csm-training: standard output carries results only, everything
// else goes to standard error; exit codes: 0 done, 1 failed (with one sentence that says why), 2
// not understood, 130 interrupted.
#include "cli/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/messages.h"

namespace csm::cli {
namespace {

/// Help and version are answers, on standard output; anything else is a usage error.
int ReportParseResult(const CLI::App& app, const CLI::ParseError& result) {
  if (result.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    app.exit(result);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return kExitOk;
    Say("cannot write to standard output: {}", std::strerror(errno));
    return kExitError;
  }
  Say("{}", result.what());
  std::string command = "csm";
  for (const CLI::App* parent = &app; !parent->get_subcommands().empty();) {
    parent = parent->get_subcommands().front();
    command += " " + parent->get_name();
  }
  SayRaw("Try '{} --help'.\n", command);
  return kExitUsage;
}

bool IsOption(const CLI::App& app, const std::string& name) {
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  return std::any_of(commands.begin(), commands.end(), [&](const CLI::App* command) {
    return command->get_option_no_throw(name) != nullptr || IsOption(*command, name);
  });
}

/// The arguments in the order that CLI11 wants, last first. It takes the argument after an empty
/// "--text=" for its value, so these are made two.
std::vector<std::string> Arguments(const CLI::App& app, int argc, char** argv) {
  std::vector<std::string> arguments;
  for (const std::string argument : std::span(argv, static_cast<size_t>(argc)).subspan(1)) {
    const std::string name = argument.substr(0, argument.find('='));
    const bool is_empty_option = argument == name + "=" && IsOption(app, name);
    arguments.push_back(is_empty_option ? name : argument);
    if (is_empty_option) arguments.emplace_back();
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

/// CLI11 says no more of an unknown command than that one is missing. `arguments` begin with the
/// command's name.
void CheckCommand(const CLI::App& app, std::span<char* const> arguments) {
  const auto commands = app.get_subcommands([](const CLI::App*) { return true; });
  if (commands.empty() || arguments.empty() || *arguments[0] == '-') return;
  std::vector<std::string> names;
  for (const CLI::App* command : commands) {
    names.push_back(command->get_name());
    if (names.back() == arguments[0]) return CheckCommand(*command, arguments.subspan(1));
  }
  const std::string of = app.get_parent() == nullptr ? "" : fmt::format("{} ", app.get_name());
  throw UsageError(fmt::format("there is no command '{}{}'; there are {}{}", of, arguments[0], of,
                               fmt::join(names, fmt::format(", {}", of))));
}

/// Throws UsageError if a file is asked for by an empty name: a script's variable that is not set
/// should not mean that the option was not given.
void CheckNames(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string type = option->get_type_name();
    const bool is_name = type.starts_with("FILE") || type.starts_with("DIR") ||
                         type.starts_with("PATH") || type.find(".json") != std::string::npos ||
                         type.find(".wav") != std::string::npos;
    const std::vector<std::string>& values = option->results();
    if (!is_name || std::find(values.begin(), values.end(), "") == values.end()) continue;
    throw UsageError(fmt::format("{} is empty: it should be a name", option->get_name()));
  }
  for (const CLI::App* command : app.get_subcommands()) CheckNames(*command);
}

/// A closed standard stream would lend its number to the next file opened, and messages would go
/// into that file. What stands in for it cannot be written, so a result is not lost silently.
void FillStandardStreams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", O_RDONLY);  // takes the lowest number
  }
}

}  // namespace

int RunProgram(int argc, char** argv, const std::function<void(CLI::App&, Action&)>& add_commands) {
  FillStandardStreams();
  // A reader that goes away (csm … | head), or a limit to the size of files, is a failed write,
  // reported like any other.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);

  CLI::App app{"Sesame's Conversational Speech Model: from text and context to speech.", "csm"};
  app.set_version_flag("--version", "csm " CSM_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  Action action;
  add_commands(app, action);
  try {
    CheckCommand(app, std::span(argv, static_cast<size_t>(argc)).subspan(std::min(argc, 1)));
    app.parse(Arguments(app, argc, argv));
    CheckNames(app);
    return action();
  } catch (const CLI::ParseError& result) {
    return ReportParseResult(app, result);
  } catch (const UsageError& error) {
    Say("{}", error.what());
    return kExitUsage;
  } catch (const Error& error) {
    Say("{}", error.what());
  } catch (const std::bad_alloc&) {
    Say("out of memory");
  } catch (const std::exception& error) {
    Say("{}", error.what());
  }
  return kExitError;
}

}  // namespace csm::cli

// csm: the command line. Standard output carries results only, everything else goes to standard
// error; exit codes: 0 done, 1 failed (with one sentence that says why), 2 not understood,
// 130 interrupted.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/commands.h"

namespace csm::cli {
namespace {

void PrintError(const std::string& sentence) { fmt::print(stderr, "csm: {}\n", sentence); }

/// Help and version are answers, on standard output; anything else is a usage error.
int ReportParseResult(const CLI::App& app, const CLI::ParseError& result) {
  if (result.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(result);
  PrintError(result.what());
  std::string command = "csm";
  for (const CLI::App* chosen : app.get_subcommands()) command += " " + chosen->get_name();
  fmt::print(stderr, "Try '{} --help'.\n", command);
  return kExitUsage;
}

/// The arguments in the order that CLI11 wants, last first. It takes the argument after an empty
/// "--text=" for its value, so these are made two.
std::vector<std::string> Arguments(int argc, char** argv) {
  std::vector<std::string> arguments;
  for (const std::string argument : std::span(argv, static_cast<size_t>(argc)).subspan(1)) {
    const bool is_empty_option = argument.starts_with("--") && argument.ends_with('=') &&
                                 argument.find('=') == argument.size() - 1;
    arguments.push_back(is_empty_option ? argument.substr(0, argument.size() - 1) : argument);
    if (is_empty_option) arguments.emplace_back();
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

int Main(int argc, char** argv) {
  // A reader that goes away (csm … | head) is a failed write, reported like any other.
  std::signal(SIGPIPE, SIG_IGN);

  CLI::App app{"Sesame's Conversational Speech Model: from text and context to speech.", "csm"};
  app.set_version_flag("--version", "csm " CSM_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  Action action;
  AddGenerate(app, action);
  AddEncode(app, action);
  AddDecode(app, action);
  AddTokenize(app, action);
  AddForward(app, action);
  AddInfo(app, action);
  AddVerify(app, action);
  try {
    app.parse(Arguments(argc, argv));
  } catch (const CLI::ParseError& result) {
    return ReportParseResult(app, result);
  }

  try {
    return action();
  } catch (const UsageError& error) {
    PrintError(error.what());
    return kExitUsage;
  } catch (const Error& error) {
    PrintError(error.what());
  } catch (const std::bad_alloc&) {
    PrintError("out of memory");
  } catch (const std::exception& error) {
    PrintError(error.what());
  }
  return kExitError;
}

}  // namespace
}  // namespace csm::cli

int main(int argc, char** argv) { return csm::cli::Main(argc, argv); }

#include "cli/interrupt.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <iterator>

#include "cli/commands.h"
#include "cli/messages.h"

namespace csm::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;  // all that a signal handler may touch

void HandleSignal(int /*signal*/) { interrupted = 1; }

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
struct sigaction previous[std::size(kSignals)];  // the actions that a guard replaced

}  // namespace

InterruptGuard::InterruptGuard() {
  interrupted = 0;
  struct sigaction action = {};
  action.sa_handler = HandleSignal;
  // SA_RESETHAND: the second signal meets the default, which ends the process. SA_RESTART: a write
  // under way is completed.
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], nullptr, &previous[i]);
    if (previous[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

InterruptGuard::~InterruptGuard() {
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &previous[i], nullptr);
}

bool IsInterrupted() { return interrupted != 0; }

int ReportInterrupted() {
  Say("interrupted");
  return kExitInterrupted;
}

}  // namespace csm::cli

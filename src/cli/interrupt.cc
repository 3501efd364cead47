#include "cli/interrupt.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>

#include "cli/commands.h"

namespace csm::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;  // all that a signal handler may touch

void HandleSignal(int /*signal*/) { interrupted = 1; }

void SetHandler(void (*handler)(int), int flags) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  interrupted = 0;
  // SA_RESETHAND: the second signal meets the default, which ends the process. SA_RESTART: a write
  // under way is completed.
  SetHandler(HandleSignal, static_cast<int>(SA_RESETHAND) | SA_RESTART);
}

InterruptGuard::~InterruptGuard() { SetHandler(SIG_DFL, 0); }

bool IsInterrupted() { return interrupted != 0; }

int ReportInterrupted() {
  fmt::print(stderr, "csm: interrupted\n");
  return kExitInterrupted;
}

}  // namespace csm::cli

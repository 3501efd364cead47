// Ctrl-C as a flag that long work looks at, so that it can end with everything in order.
#ifndef CSM_CLI_INTERRUPT_H_
#define CSM_CLI_INTERRUPT_H_

namespace csm::cli {

/// While it lives, the first SIGINT, SIGTERM or SIGHUP sets the flag; another one ends the process
/// at once, for work that does not look. What whoever started the program had it ignore (nohup) is
/// still ignored. At most one at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

/// Thrown by what work calls as it goes on, to end it.
struct Interrupted {};

/// Whether a signal has come since the guard was made.
bool IsInterrupted();

/// Says so on standard error; returns kExitInterrupted.
int ReportInterrupted();

}  // namespace csm::cli

#endif  // CSM_CLI_INTERRUPT_H_

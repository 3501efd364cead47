// How far long work has come, on standard error.
#ifndef CSM_CLI_PROGRESS_H_
#define CSM_CLI_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "base/clock.h"
#include "checkpoint/tensor_store.h"

namespace csm::cli {

/// A bar that is redrawn in place on a terminal; a line every few seconds in a log.
class Progress {
 public:
  /// `total` in units of `unit`; 0: unknown, then only the count is shown. `quiet`: shows nothing.
  Progress(std::string label, std::string unit, int64_t total, bool quiet = false);
  ~Progress();  ///< as Finish
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(int64_t done);
  /// Removes the bar, so that what follows begins on a clean line.
  void Finish();

 private:
  std::string Line(int64_t done) const;

  std::string label_;
  std::string unit_;
  int64_t total_;
  bool quiet_;
  bool is_terminal_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point last_draw_ = start_;
};

/// For work that tells how many bytes it has written: shows that, and throws Interrupted after
/// Ctrl-C, if there is an InterruptGuard.
checkpoint::ByteProgress ShowBytes(const std::string& label, bool quiet = false);

}  // namespace csm::cli

#endif  // CSM_CLI_PROGRESS_H_

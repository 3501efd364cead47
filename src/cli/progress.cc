#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "cli/interrupt.h"
#include "cli/messages.h"

namespace csm::cli {
namespace {

constexpr std::chrono::milliseconds kBarInterval{100};
constexpr std::chrono::seconds kLineInterval{5};
constexpr int kBarWidth = 30;

}  // namespace

Progress::Progress(std::string label, std::string unit, int64_t total, bool quiet)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      quiet_(quiet),
      is_terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { Finish(); }

std::string Progress::Line(int64_t done) const {
  const double rate = static_cast<double>(done) / std::max(SecondsSince(start_), 1e-9);
  if (total_ <= 0) return fmt::format("{} {} {} ({:.1f}/s)", label_, done, unit_, rate);
  std::string bar;
  if (is_terminal_) {
    const auto full = static_cast<size_t>(kBarWidth * std::min(done, total_) / total_);
    bar = fmt::format("[{}{}] ", std::string(full, '='), std::string(kBarWidth - full, ' '));
  }
  return fmt::format("{} {}{}/{} {} ({:.1f}/s)", label_, bar, done, total_, unit_, rate);
}

void Progress::Update(int64_t done) {
  if (quiet_) return;
  const auto now = Clock::now();
  const Clock::duration interval = is_terminal_ ? Clock::duration(kBarInterval) : kLineInterval;
  if (now - last_draw_ < interval) return;
  last_draw_ = now;
  if (is_terminal_) {
    SayRaw("\r{}\033[K", Line(done));  // \033[K: erase what a longer line left
    drawn_ = true;
  } else {
    SayRaw("{}\n", Line(done));
  }
}

void Progress::Finish() {
  if (!drawn_) return;
  SayRaw("\r\033[K");
  drawn_ = false;
}

checkpoint::ByteProgress ShowBytes(const std::string& label, bool quiet) {
  constexpr int64_t kMegabyte = 1000000;
  return
      [label, quiet, progress = std::shared_ptr<Progress>()](int64_t done, int64_t total) mutable {
        if (IsInterrupted()) throw Interrupted();
        if (!progress) progress = std::make_shared<Progress>(label, "MB", total / kMegabyte, quiet);
        progress->Update(done / kMegabyte);
      };
}

}  // namespace csm::cli

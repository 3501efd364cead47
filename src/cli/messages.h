// What the program says beside its results, on standard error.
#ifndef CSM_CLI_MESSAGES_H_
#define CSM_CLI_MESSAGES_H_

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <utility>

namespace csm::cli {

/// Writes as it is. A standard error that cannot be written changes no result and raises nothing.
template <typename... Args>
void SayRaw(fmt::format_string<Args...> format, Args&&... args) noexcept {
  try {
    const std::string text = fmt::format(format, std::forward<Args>(args)...);
    (void)std::fwrite(text.data(), 1, text.size(), stderr);
    (void)std::fflush(stderr);
  } catch (...) {  // no memory for a message
  }
}

/// One line that begins with "csm: ".
template <typename... Args>
void Say(fmt::format_string<Args...> format, Args&&... args) noexcept {
  try {
    SayRaw("csm: {}\n", fmt::format(format, std::forward<Args>(args)...));
  } catch (...) {
  }
}

}  // namespace csm::cli

#endif  // CSM_CLI_MESSAGES_H_

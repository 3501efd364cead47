// Raising the public error types with a formatted sentence.
#ifndef CSM_BASE_ERROR_H_
#define CSM_BASE_ERROR_H_

#include <fmt/format.h>

#include <utility>

#include "csm/csm.hpp"

namespace csm {

/// Throws E (FileError, FormatError or ArgumentError) with a fmt-formatted message.
template <typename E, typename... Args>
[[noreturn]] void Fail(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace csm

#endif  // CSM_BASE_ERROR_H_

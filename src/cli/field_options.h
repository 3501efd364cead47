// Options that stand for the fields of a config struct.
#ifndef CSM_CLI_FIELD_OPTIONS_H_
#define CSM_CLI_FIELD_OPTIONS_H_

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace csm::cli {

struct FieldHelp {
  std::string_view option;  ///< or the field's name
  std::string_view type;
  std::string_view text;
  std::string_view group = {};
};

/// Throws std::logic_error: every field has a text.
template <size_t N>
const FieldHelp& HelpOf(const std::array<FieldHelp, N>& all, std::string_view option) {
  const auto help =
      std::find_if(all.begin(), all.end(), [&](const FieldHelp& h) { return h.option == option; });
  if (help == all.end()) throw std::logic_error(fmt::format("{} has no help text", option));
  return *help;
}

/// "--top-k" of top_k.
inline std::string OptionName(std::string_view field) {
  std::string option = fmt::format("--{}", field);
  std::replace(option.begin(), option.end(), '_', '-');
  return option;
}

/// Rejects what CLI11 would let pass: it takes -1 for 2^64 - 1 and cuts to the largest number what
/// is beyond it.
template <typename Integer>
std::string CheckInteger(const std::string& text) {
  Integer value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return "";
  return fmt::format("'{}' is not a whole number from {} to {}", text,
                     std::numeric_limits<Integer>::min(), std::numeric_limits<Integer>::max());
}

/// It takes an empty text for 0.
inline std::string CheckNumber(const std::string& text) {
  return text.empty() ? "'' is not a number" : "";
}

/// Checks that an option's text is a number, if its value is one.
template <typename Value>
void AddChecks(CLI::Option& option) {
  if constexpr (std::is_same_v<Value, int64_t> || std::is_same_v<Value, std::optional<int64_t>>) {
    option.check(CheckInteger<int64_t>);
  }
  if constexpr (std::is_same_v<Value, double> || std::is_same_v<Value, std::optional<double>>) {
    option.check(CheckNumber);
  }
}

}  // namespace csm::cli

#endif  // CSM_CLI_FIELD_OPTIONS_H_

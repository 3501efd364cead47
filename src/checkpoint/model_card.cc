#include "checkpoint/model_card.h"

namespace csm::checkpoint {
namespace {

constexpr std::string_view kSpaces = " \t\r";

std::string_view TrimmedRight(std::string_view text) {
  const size_t last = text.find_last_not_of(kSpaces);
  return last == std::string_view::npos ? std::string_view() : text.substr(0, last + 1);
}

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpaces);
  return first == std::string_view::npos ? std::string_view() : TrimmedRight(text.substr(first));
}

// Takes the first line off `text`.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return line;
}

// A scalar without its quotes, or without the comment behind it.
std::string_view Scalar(std::string_view value) {
  if (value.size() >= 2 && (value[0] == '"' || value[0] == '\'')) {
    const size_t end = value.find(value[0], 1);
    if (end != std::string_view::npos) return value.substr(1, end - 1);
  }
  return Trimmed(value.substr(0, value.find(" #")));
}

}  // namespace

std::optional<std::string> CardValue(std::string_view card, std::string_view key) {
  if (TrimmedRight(TakeLine(card)) != "---") return std::nullopt;
  while (!card.empty()) {
    const std::string_view line = TakeLine(card);
    if (TrimmedRight(line) == "---") break;  // an indented one is part of a text
    if (!line.starts_with(key) || !line.substr(key.size()).starts_with(":")) continue;
    const std::string_view value = Trimmed(line.substr(key.size() + 1));
    constexpr std::string_view kNoScalar = "[{#|>&*!";
    if (value.empty() || kNoScalar.find(value[0]) != std::string_view::npos) return std::nullopt;
    const std::string_view scalar = Scalar(value);
    return scalar.empty() ? std::nullopt : std::optional(std::string(scalar));
  }
  return std::nullopt;
}

}  // namespace csm::checkpoint

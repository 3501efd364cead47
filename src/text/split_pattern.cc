#include "text/split_pattern.h"

#include <fmt/format.h>

#include <cctype>
#include <iterator>
#include <span>
#include <vector>

#include "base/error.h"
#include "text/unicode_tables.h"

namespace csm::text {
namespace {

// The 25 White_Space characters, which are Oniguruma's \s.
constexpr std::string_view kSpace =
    R"(\x09-\x0d\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

// Pairs of ASCII letters that have a one-character form: Oniguruma's caseless "ss" matches U+00DF.
constexpr std::string_view kFoldedPairs[] = {"ff", "fi", "fl", "ss", "st"};

std::string MembersOf(std::string_view category, std::span<const CodePointRange> newer) {
  std::string members = fmt::format(R"(\p{{{}}})", category);
  for (const auto& [first, last] : newer) {
    fmt::format_to(std::back_inserter(members), R"(\x{{{:x}}}-\x{{{:x}}})",
                   static_cast<uint32_t>(first), static_cast<uint32_t>(last));
  }
  return members;
}

bool IsPunctuation(char c) { return std::ispunct(static_cast<unsigned char>(c)) != 0; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  std::string Translate() {
    while (at_ < pattern_.size()) Next();
    return std::move(out_);
  }

 private:
  [[noreturn]] void Refuse(std::string_view what) const {
    Fail<FormatError>("{} has {} at byte {} of \"{}\"; this is not supported", where_, what, at_,
                      pattern_);
  }
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  void Copy(size_t count) {
    out_.append(pattern_.substr(at_, count));
    at_ += count;
  }

  void Next() {
    const char c = Peek();
    switch (c) {
      case '(':
        return Group();
      case ')':
        if (caseless_.size() > 1) caseless_.pop_back();
        return Operator(1);
      case '[':
        return Class();
      case '\\':
        return Escape();
      case '{':
        return Interval();
      case '|':
      case '?':
      case '*':
      case '+':
        return Operator(1);
      case '.':
      case '^':
      case '$':
        Refuse("an anchor or '.'");
      default:
        return Literal(c);
    }
  }
  void Operator(size_t length) {
    Copy(length);
    previous_letter_ = '\0';
  }
  void Literal(char c) {
    if (caseless_.back()) {
      if (static_cast<unsigned char>(c) >= 0x80) Refuse("a caseless character outside ASCII");
      const char letter = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      for (const std::string_view pair : kFoldedPairs) {
        if (pair[0] == previous_letter_ && pair[1] == letter) Refuse("a caseless ligature");
      }
      previous_letter_ = letter;
    }
    Copy(1);
  }
  void Group() {
    for (const std::string_view start : {"(?:", "(?i:", "(?=", "(?!", "(?>"}) {
      if (pattern_.substr(at_, start.size()) != start) continue;
      caseless_.push_back(caseless_.back() || start == "(?i:");
      return Operator(start.size());
    }
    if (Peek(1) == '?' || Peek(1) == '*') Refuse("this kind of group");
    caseless_.push_back(caseless_.back());
    Operator(1);
  }
  // "{n}", "{n,}" or "{n,m}" without a suffix: "{n}?" and "{n}+" mean other things to Oniguruma.
  void Interval() {
    size_t length = 1;
    while (IsDigit(Peek(length))) ++length;
    if (length == 1) Refuse("'{' without a number");
    if (Peek(length) == ',') ++length;
    while (IsDigit(Peek(length))) ++length;
    if (Peek(length) != '}') Refuse("'{' without '}'");
    const char suffix = Peek(length + 1);
    if (suffix == '?' || suffix == '+') Refuse("a lazy or possessive interval");
    Operator(length + 1);
  }
  // Outside a class.
  void Escape() {
    previous_letter_ = '\0';
    if (const std::string members = ClassEscape(); !members.empty()) {
      out_.append(negated_ ? "[^" : "[").append(members).append("]");
      return;
    }
    SimpleEscape();
  }
  // \s, \S, \p{L}, \P{L}, \p{N}, \P{N}: the members, and whether they are negated. Else empty.
  std::string ClassEscape() {
    const char letter = Peek(1);
    negated_ = letter == 'S' || letter == 'P';
    if (letter == 's' || letter == 'S') {
      at_ += 2;
      return std::string(kSpace);
    }
    if (letter != 'p' && letter != 'P') return {};
    const std::string_view name = pattern_.substr(at_ + 2, 3);
    if (name != "{L}" && name != "{N}") Refuse("a property other than {L} and {N}");
    at_ += 5;
    return name == "{L}" ? MembersOf("L", kNewLetters) : MembersOf("N", kNewNumbers);
  }
  // Escapes that mean the same to both.
  void SimpleEscape() {
    const char escaped = Peek(1);
    if (escaped != 'r' && escaped != 'n' && escaped != 't' && !IsPunctuation(escaped)) {
      Refuse("an escape other than \\s, \\S, \\p, \\P, \\r, \\n, \\t");
    }
    Copy(2);
  }
  void Class() {
    Operator(1);
    if (Peek() == '^') Copy(1);
    if (Peek() == ']') Refuse("an empty class");
    while (Peek() != ']') {
      const char c = Peek();
      if (at_ >= pattern_.size()) Refuse("'[' without ']'");
      if (c == '[' || (c == '&' && Peek(1) == '&')) Refuse("a class inside a class");
      if (caseless_.back() && static_cast<unsigned char>(c) >= 0x80) {
        Refuse("a caseless character outside ASCII");
      }
      if (c != '\\') {
        Copy(1);
      } else if (const std::string members = ClassEscape(); members.empty()) {
        SimpleEscape();
      } else if (negated_) {
        Refuse("a negated escape in a class");
      } else {
        out_.append(members);
      }
    }
    Operator(1);
  }

  std::string_view pattern_;
  std::string_view where_;
  size_t at_ = 0;
  std::string out_;
  std::vector<bool> caseless_ = {false};  // per open group
  char previous_letter_ = '\0';           // of a caseless run of literals
  bool negated_ = false;
};

}  // namespace

std::string TranslateSplitPattern(std::string_view pattern, std::string_view where) {
  return Translator(pattern, where).Translate();
}

}  // namespace csm::text

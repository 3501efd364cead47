// Splitting text by a regular expression (PCRE2).
#ifndef CSM_TEXT_REGEX_SPLITTER_H_
#define CSM_TEXT_REGEX_SPLITTER_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace csm::text {

/// Immutable; safe to share among threads.
class RegexSplitter {
 public:
  /// `pattern` is in the syntax of tokenizer.json. Throws FormatError, beginning with `where`, if
  /// it is not valid, not supported (see split_pattern.h) or matches the empty string.
  RegexSplitter(std::string_view pattern, std::string_view where);

  /// Calls piece(std::string_view) for every match in valid UTF-8 text and for what lies between
  /// matches, in order: together they are the text. Throws ArgumentError if matching needs more
  /// memory or steps than is sane.
  template <typename Piece>
  void Split(std::string_view text, const Piece& piece) const {
    Matcher matcher(*this, text);
    size_t done = 0;
    while (done < text.size() && matcher.Next(done)) {
      if (matcher.begin() > done) piece(text.substr(done, matcher.begin() - done));
      piece(text.substr(matcher.begin(), matcher.end() - matcher.begin()));
      done = matcher.end();
    }
    if (done < text.size()) piece(text.substr(done));
  }

 private:
  struct Regex;
  class Matcher {
   public:
    Matcher(const RegexSplitter& splitter, std::string_view text);
    ~Matcher();
    Matcher(const Matcher&) = delete;
    Matcher& operator=(const Matcher&) = delete;
    /// Finds the first match at or after byte `start`; it is never empty.
    bool Next(size_t start);
    size_t begin() const { return begin_; }
    size_t end() const { return end_; }

   private:
    struct State;
    const RegexSplitter& splitter_;
    std::string_view text_;
    std::unique_ptr<State> state_;
    size_t begin_ = 0, end_ = 0;
  };

  std::string where_;
  std::shared_ptr<const Regex> regex_;
};

}  // namespace csm::text

#endif  // CSM_TEXT_REGEX_SPLITTER_H_

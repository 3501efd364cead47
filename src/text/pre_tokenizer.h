// tokenizer.json's "pre_tokenizer": text -> pieces, each encoded on its own.
#ifndef CSM_TEXT_PRE_TOKENIZER_H_
#define CSM_TEXT_PRE_TOKENIZER_H_

#include <string>
#include <string_view>
#include <vector>

#include "text/regex_splitter.h"
#include "text/tokenizer_json.h"

namespace csm::text {

/// Immutable; safe to share among threads.
class PreTokenizer {
 public:
  /// ByteLevel, or a Sequence of isolating regex Splits and, at its end, ByteLevel. Throws
  /// FormatError for anything else, naming it.
  explicit PreTokenizer(const TokenizerJson& file);

  /// Calls emit(std::string_view) for each piece of valid UTF-8 text, in order; none is empty.
  template <typename Emit>
  void Split(std::string_view text, const Emit& emit) const {
    SplitFrom(0, text, emit);
  }

 private:
  void Add(const nlohmann::json& step, const std::string& where);
  void AddByteLevel(const nlohmann::json& step, const std::string& where);

  template <typename Emit>
  void SplitFrom(size_t step, std::string_view text, const Emit& emit) const {
    if (text.empty()) return;
    if (step < splits_.size()) {
      splits_[step].Split(text, [&](std::string_view piece) { SplitFrom(step + 1, piece, emit); });
    } else if (add_prefix_space_ && text[0] != ' ') {
      const std::string prefixed = ' ' + std::string(text);
      SplitByteLevel(prefixed, emit);
    } else {
      SplitByteLevel(text, emit);
    }
  }
  template <typename Emit>
  void SplitByteLevel(std::string_view text, const Emit& emit) const {
    if (byte_level_split_.empty()) return emit(text);
    byte_level_split_[0].Split(text, emit);
  }

  std::vector<RegexSplitter> splits_;
  bool has_byte_level_ = false;
  bool add_prefix_space_ = false;
  std::vector<RegexSplitter> byte_level_split_;  // one, or none without `use_regex`
};

}  // namespace csm::text

#endif  // CSM_TEXT_PRE_TOKENIZER_H_

// Tokens beside the model's vocabulary, found in text before it is split.
#ifndef CSM_TEXT_ADDED_TOKENS_H_
#define CSM_TEXT_ADDED_TOKENS_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/tokenizer_json.h"
#include "text/vocabulary.h"

namespace csm::text {

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  ///< not found beside a word character
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space after it
  bool normalized = true;    ///< found in normalized text, so after those that are not
  bool special = false;      ///< left out by decode(skip_special_tokens)
};

/// Finds the leftmost, there the longest, of a set of strings. Text of n bytes costs O(n) as long
/// as few of its bytes begin a string of the set, else up to O(n x longest string).
class TokenTrie {
 public:
  void Add(std::string_view token, int32_t id);
  struct Match {
    size_t begin, end;
    int32_t id;  // -1: none
  };
  Match Find(std::string_view text, size_t start) const;

 private:
  struct Node {
    int32_t id = -1;
    std::map<char, size_t> children;
  };
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> begins_token_ = {};
};

/// The file's "added_tokens". Immutable.
class AddedTokens {
 public:
  /// A token gets the id that `tokenizers` gives it: the vocabulary's if it is there, else the next
  /// free one after the vocabulary, whatever "id" the file states. Throws FormatError.
  AddedTokens(const TokenizerJson& file, const Vocabulary& vocabulary);

  using Section = std::pair<std::string_view, int32_t>;
  /// Appends the sections of `text` (valid UTF-8), in order: an added token with its id, or text
  /// between them with id -1.
  void Split(std::string_view text, std::vector<Section>& sections) const;

  const AddedToken* Find(std::string_view content) const;
  const AddedToken* FindId(int32_t id) const;
  /// Whether the vocabulary has special tokens, too: then text that is not searched for added
  /// tokens could still merge into one.
  bool has_special_in_vocabulary() const { return has_special_in_vocabulary_; }
  int32_t max_id() const { return by_id_.empty() ? -1 : by_id_.rbegin()->first; }

 private:
  void Add(AddedToken token, const Vocabulary& vocabulary);
  void SplitBy(const TokenTrie& trie, std::string_view text, std::vector<Section>& sections) const;

  std::map<int32_t, AddedToken> by_id_;
  std::unordered_map<std::string, int32_t> ids_;
  bool has_normalized_ = false;
  bool has_special_in_vocabulary_ = false;
  TokenTrie plain_, normalized_;
};

}  // namespace csm::text

#endif  // CSM_TEXT_ADDED_TOKENS_H_

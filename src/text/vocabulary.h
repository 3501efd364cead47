// Tokens and their ids, by bytes and by id.
#ifndef CSM_TEXT_VOCABULARY_H_
#define CSM_TEXT_VOCABULARY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_json.h"

namespace csm::text {

/// The model's vocabulary. Immutable; added tokens are not in it (see added_tokens.h).
class Vocabulary {
 public:
  /// Throws FormatError if a token or an id appears twice.
  explicit Vocabulary(const TokenizerJson& file);

  size_t num_tokens() const { return entries_.size(); }
  int32_t max_id() const { return static_cast<int32_t>(entry_of_id_.size()) - 1; }

  /// The id of the token that stands for these bytes; -1 if there is none.
  int32_t Find(std::string_view bytes) const;
  /// The id of a token as the file spells it; -1 if there is none.
  int32_t FindToken(std::string_view token) const;
  /// A token as the file spells it.
  std::optional<std::string> Token(int32_t id) const;
  /// What the byte-level decoder makes of an id: the bytes of its token or, if that has characters
  /// outside the byte alphabet, the token itself. None if there is no such id.
  std::optional<std::string_view> Decoded(int32_t id) const;

 private:
  struct Entry {
    size_t begin;
    uint32_t length;
    int32_t id;
    bool is_bytes;  // else: spelled with characters outside the byte alphabet, and kept so
  };
  struct Slot {
    uint32_t hash;
    int32_t entry;  // -1: free
  };
  std::string_view Chars(const Entry& entry) const {
    return std::string_view(chars_).substr(entry.begin, entry.length);
  }
  const Entry* FindEntry(std::string_view chars, bool is_bytes) const;
  const Entry* FindId(int32_t id) const;

  std::string chars_;  // the bytes that tokens stand for
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing, linear probing; a power of two, at most half full
  std::vector<int32_t> entry_of_id_;  // -1: no such id
};

}  // namespace csm::text

#endif  // CSM_TEXT_VOCABULARY_H_

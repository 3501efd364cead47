// Reading a tokenizer.json file without a tree of its two large lists: Llama-3's vocabulary and
// merges are 9 MB of the file's 9.1, and ordinary JSON objects of them cost four times the time.
#ifndef CSM_TEXT_TOKENIZER_JSON_H_
#define CSM_TEXT_TOKENIZER_JSON_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace csm::text {

/// Strings one after another in one block of memory.
class StringList {
 public:
  void Add(std::string_view string) {
    chars_.append(string);
    ends_.push_back(chars_.size());
  }
  size_t size() const { return ends_.size(); }
  size_t num_chars() const { return chars_.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(chars_).substr(begin, ends_[i] - begin);
  }

 private:
  std::string chars_;
  std::vector<size_t> ends_;
};

/// Ids above this are refused: tables are indexed by id. The largest vocabularies in use have 2^18.
inline constexpr int32_t kMaxTokenId = (1 << 22) - 1;

struct TokenizerJson {
  std::string source;   ///< the file's name, for messages
  nlohmann::json root;  ///< everything but model.vocab and model.merges
  bool has_vocab = false;
  bool has_merges = false;
  StringList vocab;          ///< keys of model.vocab, in the alphabet of byte_level.h
  std::vector<int32_t> ids;  ///< their values, each in [0, kMaxTokenId]
  StringList left, right;    ///< model.merges, in order of rank
};

/// Throws FormatError on a syntax error, nesting deeper than 100 and wrong types in model.vocab and
/// model.merges. The caller judges the rest.
TokenizerJson ParseTokenizerJson(std::string_view text, std::string_view source);

/// `object[key]`, which must be of the type named. A missing or null value gives `if_missing`
/// where there is one. `where` names the object in the FormatError that is thrown otherwise.
const nlohmann::json& RequireMember(const nlohmann::json& object, const char* key,
                                    std::string_view where);
std::string RequireString(const nlohmann::json& object, const char* key, std::string_view where);
bool RequireBool(const nlohmann::json& object, const char* key, std::string_view where);
bool BoolOr(const nlohmann::json& object, const char* key, bool if_missing, std::string_view where);
const nlohmann::json& RequireList(const nlohmann::json& object, const char* key,
                                  std::string_view where);
/// The `type` of a part of the tokenizer.
std::string RequireType(const nlohmann::json& object, std::string_view where);
/// Null also if the key is missing.
const nlohmann::json& MemberOrNull(const nlohmann::json& object, const char* key);

}  // namespace csm::text

#endif  // CSM_TEXT_TOKENIZER_JSON_H_

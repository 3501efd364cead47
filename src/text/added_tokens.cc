#include "text/added_tokens.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace csm::text {
namespace {

bool IsWord(char32_t c) {
  const auto* range =
      std::upper_bound(std::begin(kWordCharacters), std::end(kWordCharacters), c,
                       [](char32_t value, const CodePointRange& r) { return value < r.first; });
  return range != std::begin(kWordCharacters) && c <= std::prev(range)->last;
}

bool IsSpace(char32_t c) {
  return (c >= 0x9 && c <= 0xD) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool TouchesWord(std::string_view before, std::string_view after) {
  return (!before.empty() && IsWord(DecodeLast(before).value)) ||
         (!after.empty() && IsWord(DecodeFirst(after).value));
}

size_t LengthWithoutTrailingSpace(std::string_view text) {
  while (!text.empty()) {
    const DecodedCodePoint last = DecodeLast(text);
    if (!IsSpace(last.value)) break;
    text.remove_suffix(static_cast<size_t>(last.length));
  }
  return text.size();
}

size_t LeadingSpace(std::string_view text) {
  const size_t size = text.size();
  while (!text.empty()) {
    const DecodedCodePoint first = DecodeFirst(text);
    if (!IsSpace(first.value)) break;
    text.remove_prefix(static_cast<size_t>(first.length));
  }
  return size - text.size();
}

AddedToken ReadAddedToken(const nlohmann::json& json, const std::string& where) {
  AddedToken token;
  token.content = RequireString(json, "content", where);
  token.single_word = RequireBool(json, "single_word", where);
  token.lstrip = RequireBool(json, "lstrip", where);
  token.rstrip = RequireBool(json, "rstrip", where);
  token.normalized = RequireBool(json, "normalized", where);
  token.special = RequireBool(json, "special", where);
  return token;
}

}  // namespace

void TokenTrie::Add(std::string_view token, int32_t id) {
  size_t node = 0;
  for (const char c : token) {
    const auto [child, is_new] = nodes_[node].children.try_emplace(c, nodes_.size());
    node = child->second;
    if (is_new) nodes_.emplace_back();
  }
  nodes_[node].id = id;
  begins_token_[static_cast<uint8_t>(token[0])] = true;
}

TokenTrie::Match TokenTrie::Find(std::string_view text, size_t start) const {
  for (size_t begin = start; begin < text.size(); ++begin) {
    if (!begins_token_[static_cast<uint8_t>(text[begin])]) continue;
    Match match = {begin, begin, -1};
    size_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      const auto child = nodes_[node].children.find(text[i]);
      if (child == nodes_[node].children.end()) break;
      node = child->second;
      if (nodes_[node].id >= 0) match = {begin, i + 1, nodes_[node].id};
    }
    if (match.id >= 0) return match;
  }
  return {text.size(), text.size(), -1};
}

AddedTokens::AddedTokens(const TokenizerJson& file, const Vocabulary& vocabulary) {
  const nlohmann::json& list = MemberOrNull(file.root, "added_tokens");
  if (list.is_null()) return;
  RequireList(file.root, "added_tokens", file.source);
  for (size_t i = 0; i < list.size(); ++i) {
    Add(ReadAddedToken(list[i], fmt::format("{}: added_tokens[{}]", file.source, i)), vocabulary);
  }
  for (const auto& [id, token] : by_id_) {
    (token.normalized ? normalized_ : plain_).Add(token.content, id);
    has_normalized_ = has_normalized_ || token.normalized;
    has_special_in_vocabulary_ =
        has_special_in_vocabulary_ || (token.special && vocabulary.Decoded(id).has_value());
  }
}

void AddedTokens::Add(AddedToken token, const Vocabulary& vocabulary) {
  if (token.content.empty()) return;  // `tokenizers` ignores it
  if (const auto known = ids_.find(token.content); known != ids_.end()) {
    token.id = known->second;
  } else if (const int32_t id = vocabulary.FindToken(token.content); id >= 0) {
    token.id = id;
  } else {
    token.id = std::max(static_cast<int32_t>(vocabulary.num_tokens()), max_id() + 1);
  }
  ids_[token.content] = token.id;
  by_id_[token.id] = std::move(token);
}

void AddedTokens::Split(std::string_view text, std::vector<Section>& sections) const {
  if (!has_normalized_) return SplitBy(plain_, text, sections);
  std::vector<Section> parts;
  SplitBy(plain_, text, parts);
  for (const Section& part : parts) {
    if (part.second >= 0) {
      sections.push_back(part);
    } else {
      SplitBy(normalized_, part.first, sections);
    }
  }
}

void AddedTokens::SplitBy(const TokenTrie& trie, std::string_view text,
                          std::vector<Section>& sections) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const TokenTrie::Match match = trie.Find(text, at);
    if (match.id < 0) break;
    at = match.end;
    const AddedToken& token = by_id_.at(match.id);
    size_t begin = match.begin;
    size_t end = match.end;
    if (token.single_word && TouchesWord(text.substr(0, begin), text.substr(end))) continue;
    if (token.lstrip) begin = std::max(LengthWithoutTrailingSpace(text.substr(0, begin)), done);
    if (token.rstrip) end += LeadingSpace(text.substr(end));
    if (done < begin) sections.emplace_back(text.substr(done, begin - done), -1);
    sections.emplace_back(text.substr(begin, end - begin), match.id);
    done = end;
  }
  if (done < text.size()) sections.emplace_back(text.substr(done), -1);
}

const AddedToken* AddedTokens::Find(std::string_view content) const {
  const auto found = ids_.find(std::string(content));
  return found == ids_.end() ? nullptr : &by_id_.at(found->second);
}

const AddedToken* AddedTokens::FindId(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

}  // namespace csm::text

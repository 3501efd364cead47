#include "text/tokenizer_json.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"

namespace csm::text {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 100;

// Receives the parser's events. model.vocab and model.merges go to lists, the rest to a tree.
class Reader : public nlohmann::json_sax<json> {
 public:
  explicit Reader(TokenizerJson& out) : out_(out) {}

  bool null() override { return Scalar(nullptr); }
  bool boolean(bool value) override { return Scalar(value); }
  bool number_integer(int64_t value) override { return Scalar(value); }
  bool number_unsigned(uint64_t value) override {
    if (list_ != List::kVocab || stack_.size() != kListDepth) return Scalar(value);
    if (value > static_cast<uint64_t>(kMaxTokenId)) {
      Fail<FormatError>("{}: model.vocab gives \"{}\" the id {}; ids up to {} are supported",
                        out_.source, key_, value, kMaxTokenId);
    }
    out_.vocab.Add(key_);
    out_.ids.push_back(static_cast<int32_t>(value));
    return true;
  }
  bool number_float(double value, const std::string&) override { return Scalar(value); }
  bool string(std::string& value) override {
    if (list_ != List::kMerges) return Scalar(value);
    if (stack_.size() == kListDepth) {
      AddLegacyMerge(value);
    } else if (pair_size_++ < 2) {
      (pair_size_ == 1 ? out_.left : out_.right).Add(value);
    }
    return true;
  }
  bool binary(json::binary_t&) override { return false; }  // JSON text has none
  bool start_object(size_t) override {
    CheckNotInList("an object");
    if (AtListKey("vocab")) return StartList(List::kVocab, out_.has_vocab);
    return Push(json::object());
  }
  bool key(std::string& value) override {
    key_ = value;
    if (stack_.size() == 1) top_key_ = value;
    return true;
  }
  bool end_object() override { return Pop(); }
  bool start_array(size_t) override {
    if (list_ == List::kMerges && stack_.size() == kListDepth) {
      pair_size_ = 0;
      stack_.push_back(nullptr);
      return true;
    }
    CheckNotInList("a list");
    if (AtListKey("merges")) return StartList(List::kMerges, out_.has_merges);
    return Push(json::array());
  }
  bool end_array() override {
    if (list_ == List::kMerges && stack_.size() > kListDepth && pair_size_ != 2) {
      Fail<FormatError>("{}: model.merges[{}] has {} strings; a merge is two", out_.source,
                        out_.right.size(), pair_size_);
    }
    return Pop();
  }
  bool parse_error(size_t, const std::string&, const json::exception& error) override {
    Fail<FormatError>("{} is not valid JSON: {}", out_.source, SyntaxError(error));
  }

 private:
  enum class List { kNone, kVocab, kMerges };
  static constexpr size_t kListDepth = 3;  // inside the file's object, "model" and the list

  bool AtListKey(std::string_view key) const {
    return stack_.size() == 2 && top_key_ == "model" && key_ == key && stack_[1]->is_object();
  }
  void CheckNotInList(std::string_view found) const {
    if (list_ == List::kNone) return;
    Fail<FormatError>("{}: model.{} holds {}; {}", out_.source,
                      list_ == List::kVocab ? "vocab" : "merges", found,
                      list_ == List::kVocab ? "it maps tokens to ids"
                                            : "a merge is \"left right\" or [left, right]");
  }
  bool StartList(List list, bool& seen) {
    if (seen) Fail<FormatError>("{}: model.{} appears twice", out_.source, key_);
    seen = true;
    list_ = list;
    stack_.push_back(nullptr);
    return true;
  }
  bool Scalar(json value) {
    CheckNotInList(value.type_name());
    Insert(std::move(value));
    return true;
  }
  json& Insert(json value) {
    if (stack_.empty()) return out_.root = std::move(value);
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return parent.back();
    }
    return parent[key_] = std::move(value);
  }
  bool Push(json value) {
    if (stack_.size() >= kMaxDepth) {
      Fail<FormatError>("{} is nested more than {} levels deep", out_.source, kMaxDepth);
    }
    stack_.push_back(&Insert(std::move(value)));
    return true;
  }
  bool Pop() {
    stack_.pop_back();
    if (stack_.size() < kListDepth) list_ = List::kNone;
    return true;
  }
  // "left right", as written before tokenizers 0.20. Its reader skips lines of merges.txt that
  // begin with "#version".
  void AddLegacyMerge(std::string_view merge) {
    if (merge.substr(0, 8) == "#version") return;
    const size_t space = merge.find(' ');
    if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
      Fail<FormatError>("{}: model.merges[{}] is \"{}\"; a merge is two tokens with one space",
                        out_.source, out_.left.size(), merge);
    }
    out_.left.Add(merge.substr(0, space));
    out_.right.Add(merge.substr(space + 1));
  }

  TokenizerJson& out_;
  std::vector<json*> stack_;  // open objects and lists; null inside vocab and merges
  std::string key_, top_key_;
  List list_ = List::kNone;
  int pair_size_ = 0;
};

[[noreturn]] void FailType(const json& value, const char* key, std::string_view where,
                           std::string_view expected) {
  Fail<FormatError>("{}.{} is {} {}; it should be {}", where, key,
                    value.is_object() || value.is_array() ? "an" : "a", value.type_name(),
                    expected);
}

}  // namespace

TokenizerJson ParseTokenizerJson(std::string_view text, std::string_view source) {
  TokenizerJson result;
  result.source = source;
  Reader reader(result);
  json::sax_parse(text, &reader);
  if (!result.root.is_object()) {
    Fail<FormatError>("{} holds a JSON {}; a tokenizer is an object", source,
                      result.root.type_name());
  }
  return result;
}

const json& MemberOrNull(const json& object, const char* key) {
  static const json null;
  if (!object.is_object()) return null;
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

const json& RequireMember(const json& object, const char* key, std::string_view where) {
  if (!object.is_object()) {
    Fail<FormatError>("{} is {}; it should be an object", where, object.type_name());
  }
  const auto found = object.find(key);
  if (found == object.end()) Fail<FormatError>("{} has no \"{}\"", where, key);
  return *found;
}

std::string RequireString(const json& object, const char* key, std::string_view where) {
  const json& value = RequireMember(object, key, where);
  if (!value.is_string()) FailType(value, key, where, "a string");
  return value.get<std::string>();
}

bool RequireBool(const json& object, const char* key, std::string_view where) {
  const json& value = RequireMember(object, key, where);
  if (!value.is_boolean()) FailType(value, key, where, "true or false");
  return value.get<bool>();
}

bool BoolOr(const json& object, const char* key, bool if_missing, std::string_view where) {
  return MemberOrNull(object, key).is_null() ? if_missing : RequireBool(object, key, where);
}

const json& RequireList(const json& object, const char* key, std::string_view where) {
  const json& value = RequireMember(object, key, where);
  if (!value.is_array()) FailType(value, key, where, "a list");
  return value;
}

std::string RequireType(const json& object, std::string_view where) {
  return RequireString(object, "type", where);
}

}  // namespace csm::text

#include "text/pre_tokenizer.h"

#include "base/error.h"

namespace csm::text {
namespace {

using nlohmann::json;

// GPT-2's split, which ByteLevel has built in.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Real files have one; each is a compiled pattern and a level of recursion.
constexpr size_t kMaxSplits = 16;

RegexSplitter ReadSplit(const json& step, const std::string& where) {
  if (const std::string behavior = RequireString(step, "behavior", where); behavior != "Isolated") {
    Fail<FormatError>("{}.behavior is \"{}\"; only \"Isolated\" is supported", where, behavior);
  }
  if (BoolOr(step, "invert", false, where)) {
    Fail<FormatError>("{}.invert is true; only false is supported", where);
  }
  const std::string pattern_where = where + ".pattern";
  const json& pattern = RequireMember(step, "pattern", where);
  if (!MemberOrNull(pattern, "String").is_null()) {
    Fail<FormatError>("{} is a String; only a Regex is supported", pattern_where);
  }
  return RegexSplitter(RequireString(pattern, "Regex", pattern_where), pattern_where + ".Regex");
}

}  // namespace

PreTokenizer::PreTokenizer(const TokenizerJson& file) {
  const std::string where = file.source + ": pre_tokenizer";
  const json& pre_tokenizer = MemberOrNull(file.root, "pre_tokenizer");
  if (!pre_tokenizer.is_null()) Add(pre_tokenizer, where);
  if (!has_byte_level_) {
    Fail<FormatError>("{} does not end in \"ByteLevel\"; only byte-level tokenizers are supported",
                      where);
  }
}

void PreTokenizer::Add(const json& step, const std::string& where) {
  const std::string type = RequireType(step, where);
  if (has_byte_level_) {
    Fail<FormatError>("{} is a \"{}\" after \"ByteLevel\"; that must be the last", where, type);
  }
  if (type == "Sequence") {
    const json& steps = RequireList(step, "pretokenizers", where);
    for (size_t i = 0; i < steps.size(); ++i) {
      Add(steps[i], fmt::format("{}.pretokenizers[{}]", where, i));
    }
  } else if (type == "Split") {
    if (splits_.size() == kMaxSplits)
      Fail<FormatError>("{}: more than {} splits", where, kMaxSplits);
    splits_.push_back(ReadSplit(step, where));
  } else if (type == "ByteLevel") {
    AddByteLevel(step, where);
  } else {
    Fail<FormatError>("{}.type is \"{}\"; \"Split\", \"ByteLevel\" and \"Sequence\" are supported",
                      where, type);
  }
}

void PreTokenizer::AddByteLevel(const json& step, const std::string& where) {
  has_byte_level_ = true;
  add_prefix_space_ = RequireBool(step, "add_prefix_space", where);
  if (BoolOr(step, "use_regex", true, where)) {
    byte_level_split_.emplace_back(kByteLevelPattern, where);
  }
}

}  // namespace csm::text

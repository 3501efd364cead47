#include "text/post_processor.h"

#include "base/error.h"

namespace csm::text {
namespace {

using nlohmann::json;

// special_tokens[name].ids.
std::vector<int32_t> IdsOfSpecialToken(const json& processor, const std::string& name,
                                       const std::string& where) {
  const std::string tokens_where = where + ".special_tokens";
  const json& tokens = RequireMember(processor, "special_tokens", where);
  const json& token = RequireMember(tokens, name.c_str(), tokens_where);
  std::vector<int32_t> ids;
  for (const json& id : RequireList(token, "ids", tokens_where + "." + name)) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
      Fail<FormatError>("{}.{}.ids holds {}; an id is an integer from 0 to {}", tokens_where, name,
                        id.dump(), kMaxTokenId);
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace

PostProcessor::PostProcessor(const TokenizerJson& file) {
  const json& processor = MemberOrNull(file.root, "post_processor");
  if (!processor.is_null()) Add(processor, file.source + ": post_processor");
}

void PostProcessor::Add(const json& processor, const std::string& where) {
  const std::string type = RequireType(processor, where);
  if (type == "TemplateProcessing") {
    templates_.push_back(ReadTemplate(processor, where));
  } else if (type == "Sequence") {
    const json& processors = RequireList(processor, "processors", where);
    for (size_t i = 0; i < processors.size(); ++i) {
      Add(processors[i], fmt::format("{}.processors[{}]", where, i));
    }
  } else if (type != "ByteLevel") {  // which changes offsets only
    Fail<FormatError>(
        "{}.type is \"{}\"; \"ByteLevel\", \"TemplateProcessing\" and \"Sequence\" are supported",
        where, type);
  }
}

PostProcessor::Template PostProcessor::ReadTemplate(const json& processor,
                                                    const std::string& where) {
  Template result;
  const json& single = RequireList(processor, "single", where);
  bool has_text = false;
  for (size_t i = 0; i < single.size(); ++i) {
    const std::string piece_where = fmt::format("{}.single[{}]", where, i);
    if (const json& special = MemberOrNull(single[i], "SpecialToken"); !special.is_null()) {
      const std::string name = RequireString(special, "id", piece_where + ".SpecialToken");
      result.emplace_back(IdsOfSpecialToken(processor, name, where));
      continue;
    }
    const json& sequence = RequireMember(single[i], "Sequence", piece_where);
    if (const std::string id = RequireString(sequence, "id", piece_where + ".Sequence");
        id != "A") {
      Fail<FormatError>("{}.Sequence.id is \"{}\"; a single text is \"A\"", piece_where, id);
    }
    // More would let a few nested templates multiply a text without bound.
    if (has_text) Fail<FormatError>("{} repeats the text; once is supported", piece_where);
    has_text = true;
    result.emplace_back(std::nullopt);
  }
  return result;
}

std::vector<int32_t> PostProcessor::Process(std::vector<int32_t> ids) const {
  for (const Template& pieces : templates_) {
    std::vector<int32_t> next;
    for (const Piece& piece : pieces) {
      const std::vector<int32_t>& added = piece ? *piece : ids;
      next.insert(next.end(), added.begin(), added.end());
    }
    ids = std::move(next);
  }
  return ids;
}

}  // namespace csm::text

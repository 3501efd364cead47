#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "checkpoint/json_file.h"
#include "checkpoint/model_dir.h"
#include "text/byte_level.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

namespace csm {
namespace {

// Truncation and padding are not read: transformers, too, turns off what the file says of them
// unless a call asks for it.
void CheckNormalizerAndDecoder(const text::TokenizerJson& file) {
  if (const auto& normalizer = text::MemberOrNull(file.root, "normalizer"); !normalizer.is_null()) {
    const std::string where = file.source + ": normalizer";
    Fail<FormatError>("{}.type is \"{}\"; only null is supported", where,
                      text::RequireType(normalizer, where));
  }
  const std::string where = file.source + ": decoder";
  const auto& decoder = text::MemberOrNull(file.root, "decoder");
  if (decoder.is_null()) Fail<FormatError>("{} is missing; it should be \"ByteLevel\"", where);
  if (const std::string type = text::RequireType(decoder, where); type != "ByteLevel") {
    Fail<FormatError>("{}.type is \"{}\"; only \"ByteLevel\" is supported", where, type);
  }
}

}  // namespace

Tokenizer::Impl::Impl(const text::TokenizerJson& file)
    : vocabulary_(file),
      bpe_(file, vocabulary_),
      added_tokens_(file, vocabulary_),
      pre_tokenizer_(file),
      post_processor_(file) {
  CheckNormalizerAndDecoder(file);
}

bool Tokenizer::Impl::IsSpecial(int32_t id) const {
  const text::AddedToken* token = added_tokens_.FindId(id);
  return token != nullptr && token->special;
}

void Tokenizer::Impl::EncodeText(std::string_view text, bool allow_special,
                                 std::vector<int32_t>& ids) const {
  allow_special = allow_special || !added_tokens_.has_special_in_vocabulary();
  text::Bpe::Workspace workspace;
  pre_tokenizer_.Split(text, [&](std::string_view piece) {
    const size_t first = ids.size();
    bpe_.Encode(piece, vocabulary_, workspace, ids);
    if (allow_special) return;
    if (std::none_of(ids.begin() + static_cast<ptrdiff_t>(first), ids.end(),
                     [&](int32_t id) { return IsSpecial(id); })) {
      return;
    }
    ids.resize(first);
    bpe_.EncodeBytes(piece, ids);
  });
}

std::vector<int32_t> Tokenizer::Impl::Encode(std::string_view text, const Options& options) const {
  constexpr size_t kMaxBytes = std::numeric_limits<int32_t>::max();
  if (text.size() > kMaxBytes / 3) {  // a bad byte becomes three
    Fail<ArgumentError>("the text has {} bytes; at most {} can be encoded at once", text.size(),
                        kMaxBytes / 3);
  }
  std::string repaired;
  if (text::ValidUtf8Prefix(text) < text.size()) {
    repaired = text::ReplaceInvalidUtf8(text);
    text = repaired;
  }
  std::vector<text::AddedTokens::Section> sections;
  if (options.parse_special) {
    added_tokens_.Split(text, sections);
  } else {
    sections.emplace_back(text, -1);
  }
  std::vector<int32_t> ids;
  for (const auto& [section, id] : sections) {
    if (id >= 0) {
      ids.push_back(id);
    } else {
      EncodeText(section, options.parse_special, ids);
    }
  }
  return options.add_special_tokens ? post_processor_.Process(std::move(ids)) : ids;
}

std::string Tokenizer::Impl::Decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const int32_t id : ids) {
    if (const text::AddedToken* added = added_tokens_.FindId(id); added != nullptr) {
      if (skip_special_tokens && added->special) continue;
      bytes += text::BytesOfToken(added->content).value_or(added->content);
    } else if (const auto decoded = vocabulary_.Decoded(id)) {
      bytes += *decoded;
    }
  }
  return text::ReplaceInvalidUtf8(bytes);
}

std::optional<int32_t> Tokenizer::Impl::TokenToId(std::string_view token) const {
  if (const text::AddedToken* added = added_tokens_.Find(token)) return added->id;
  const int32_t id = vocabulary_.FindToken(token);
  return id < 0 ? std::nullopt : std::optional<int32_t>(id);
}

std::optional<std::string> Tokenizer::Impl::IdToToken(int32_t id) const {
  if (const text::AddedToken* added = added_tokens_.FindId(id)) return added->content;
  return vocabulary_.Token(id);
}

int64_t Tokenizer::Impl::VocabSize() const {
  return std::max(vocabulary_.max_id(), added_tokens_.max_id()) + 1;
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& file) {
  const std::string content = checkpoint::ReadModelFile(file);
  return Tokenizer(std::make_shared<const Impl>(text::ParseTokenizerJson(content, file.string())));
}

Tokenizer Tokenizer::from_pretrained(const std::filesystem::path& dir) {
  return from_file(checkpoint::ResolveModelDir(dir) / "tokenizer.json");
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, const Options& options) const {
  return impl_->Encode(text, options);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  return impl_->Decode(ids, skip_special_tokens);
}

std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  return impl_->TokenToId(token);
}

std::optional<std::string> Tokenizer::id_to_token(int32_t id) const { return impl_->IdToToken(id); }

int64_t Tokenizer::vocab_size() const { return impl_->VocabSize(); }

}  // namespace csm

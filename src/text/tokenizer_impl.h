// What the public csm::Tokenizer holds.
#ifndef CSM_TEXT_TOKENIZER_IMPL_H_
#define CSM_TEXT_TOKENIZER_IMPL_H_

#include "csm/csm.hpp"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_json.h"
#include "text/vocabulary.h"

namespace csm {

/// The stages of a tokenizer: added tokens are found in the text, what lies between them is split
/// into pieces, each piece is merged into tokens, and a template may put BOS and EOS around.
struct Tokenizer::Impl {
 public:
  /// Throws FormatError for what is wrong or not supported, naming it.
  explicit Impl(const text::TokenizerJson& file);

  std::vector<int32_t> Encode(std::string_view text, const Options& options) const;
  /// Ids that do not exist are left out, as `tokenizers` does.
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const;
  std::optional<int32_t> TokenToId(std::string_view token) const;
  std::optional<std::string> IdToToken(int32_t id) const;
  int64_t VocabSize() const;

 private:
  bool IsSpecial(int32_t id) const;
  // Appends the ids of text without added tokens.
  void EncodeText(std::string_view text, bool allow_special, std::vector<int32_t>& ids) const;

  text::Vocabulary vocabulary_;
  text::Bpe bpe_;
  text::AddedTokens added_tokens_;
  text::PreTokenizer pre_tokenizer_;
  text::PostProcessor post_processor_;
};

}  // namespace csm

#endif  // CSM_TEXT_TOKENIZER_IMPL_H_

// What tokenizer.json's "post_processor" puts around a text: BOS, EOS.
#ifndef CSM_TEXT_POST_PROCESSOR_H_
#define CSM_TEXT_POST_PROCESSOR_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "text/tokenizer_json.h"

namespace csm::text {

/// Immutable.
class PostProcessor {
 public:
  /// Null, ByteLevel, TemplateProcessing, or a Sequence of them. Throws FormatError.
  explicit PostProcessor(const TokenizerJson& file);
  /// What the templates make of one text's ids.
  std::vector<int32_t> Process(std::vector<int32_t> ids) const;

 private:
  /// Ids to insert; none: the text's own.
  using Piece = std::optional<std::vector<int32_t>>;
  using Template = std::vector<Piece>;

  void Add(const nlohmann::json& processor, const std::string& where);
  static Template ReadTemplate(const nlohmann::json& processor, const std::string& where);

  std::vector<Template> templates_;
};

}  // namespace csm::text

#endif  // CSM_TEXT_POST_PROCESSOR_H_

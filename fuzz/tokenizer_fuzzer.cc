// A tokenizer.json, a zero byte, a text: the file is refused with a FormatError that names it, or
// any text is encoded and decoded, or refused with an ArgumentError (a split pattern that gives
// up).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "text/tokenizer_impl.h"

namespace {

void EncodeAndDecode(const csm::Tokenizer::Impl& tokenizer, std::string_view text) {
  for (const bool parse_special : {false, true}) {
    const std::vector<int32_t> ids = tokenizer.Encode(text, {true, parse_special});
    tokenizer.Decode(ids, parse_special);
    for (const int32_t id : ids) {
      // Templates may insert ids that no token has; tokens of text are below the size.
      if (id < 0 || id > csm::text::kMaxTokenId) std::abort();
      tokenizer.IdToToken(id);
    }
  }
  tokenizer.TokenToId(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view text =
      zero == std::string_view::npos ? std::string_view() : input.substr(zero + 1);
  if (text.size() > 1000) return 0;  // patterns may be quadratic, and slow inputs find little
  try {
    const auto file = csm::text::ParseTokenizerJson(input.substr(0, zero), "t.json");
    EncodeAndDecode(csm::Tokenizer::Impl(file), text);
  } catch (const csm::Error& error) {
    if (std::string_view(error.what()).find("t.json") == std::string_view::npos) std::abort();
  }
  return 0;
}

#include "text/byte_level.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace csm::text {
namespace {

constexpr bool IsPrintableLatin1(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

// Printable bytes are themselves; the 68 others become U+0100 and up, in order.
constexpr std::array<char32_t, 256> MakeAlphabet() {
  std::array<char32_t, 256> alphabet = {};
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    alphabet[static_cast<size_t>(byte)] =
        IsPrintableLatin1(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return alphabet;
}

constexpr std::array<char32_t, 256> kAlphabet = MakeAlphabet();
constexpr char32_t kAlphabetEnd = 0x100 + 68;

constexpr std::array<int16_t, kAlphabetEnd> MakeInverse() {
  std::array<int16_t, kAlphabetEnd> inverse = {};
  for (int16_t& byte : inverse) byte = -1;
  for (int16_t byte = 0; byte < 256; ++byte) inverse[kAlphabet[static_cast<size_t>(byte)]] = byte;
  return inverse;
}

constexpr std::array<int16_t, kAlphabetEnd> kInverse = MakeInverse();

}  // namespace

std::optional<std::string> BytesOfToken(std::string_view token) {
  std::string bytes;
  bytes.reserve(token.size());
  while (!token.empty()) {
    const DecodedCodePoint next = DecodeFirst(token);
    if (!next.valid || next.value >= kAlphabetEnd || kInverse[next.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kInverse[next.value]));
    token.remove_prefix(static_cast<size_t>(next.length));
  }
  return bytes;
}

std::string TokenOfBytes(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) AppendUtf8(kAlphabet[static_cast<uint8_t>(byte)], token);
  return token;
}

}  // namespace csm::text

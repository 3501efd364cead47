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

bool AppendBytesOfToken(std::string_view token, std::string& bytes) {
  const size_t old_size = bytes.size();
  for (size_t i = 0; i < token.size(); ++i) {
    // The alphabet ends at U+0143: one byte of UTF-8, or two that begin with C2 to C5. This runs a
    // million times for Llama-3's file, so it does not decode in general.
    uint32_t code_point = static_cast<uint8_t>(token[i]);
    if (code_point >= 0x80) {
      const uint32_t next = i + 1 < token.size() ? static_cast<uint8_t>(token[++i]) : 0;
      const bool is_pair = code_point >= 0xC2 && code_point <= 0xC5 && (next & 0xC0) == 0x80;
      code_point = is_pair ? (code_point & 0x1F) << 6 | (next & 0x3F) : kAlphabetEnd;
    }
    if (code_point >= kAlphabetEnd || kInverse[code_point] < 0) {
      bytes.resize(old_size);
      return false;
    }
    bytes.push_back(static_cast<char>(kInverse[code_point]));
  }
  return true;
}

std::optional<std::string> BytesOfToken(std::string_view token) {
  std::string bytes;
  if (!AppendBytesOfToken(token, bytes)) return std::nullopt;
  return bytes;
}

std::string TokenOfBytes(std::string_view bytes) {
  std::string token;
  for (const char byte : bytes) AppendUtf8(kAlphabet[static_cast<uint8_t>(byte)], token);
  return token;
}

}  // namespace csm::text

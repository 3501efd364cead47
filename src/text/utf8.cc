#include "text/utf8.h"

#include <cassert>
#include <cstdint>
#include <cstring>

namespace csm::text {
namespace {

// What may follow a lead byte (Unicode 15, table 3-7). Only the second byte's range varies.
struct Lead {
  int length;
  uint8_t second_min;
  uint8_t second_max;
};

Lead ClassifyLead(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};  // a continuation byte, or an overlong form
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};  // no surrogates
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // nothing above U+10FFFF
  return {0, 0, 0};
}

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace

DecodedCodePoint DecodeFirst(std::string_view text) {
  assert(!text.empty());
  const auto first = static_cast<uint8_t>(text[0]);
  const Lead lead = ClassifyLead(first);
  if (lead.length == 1) return {first, 1, true};
  if (lead.length == 0) return {0xFFFD, 1, false};
  char32_t value = first & (0xFF >> (lead.length + 1));
  for (int i = 1; i < lead.length; ++i) {
    const auto byte = static_cast<size_t>(i) < text.size() ? static_cast<uint8_t>(text[i]) : 0;
    const int low = i == 1 ? lead.second_min : 0x80;
    const int high = i == 1 ? lead.second_max : 0xBF;
    if (byte < low || byte > high) return {0xFFFD, i, false};
    value = value << 6 | (byte & 0x3F);
  }
  return {value, lead.length, true};
}

DecodedCodePoint DecodeLast(std::string_view text) {
  assert(!text.empty());
  size_t start = text.size() - 1;
  while (start > 0 && IsContinuation(text[start])) --start;
  return DecodeFirst(text.substr(start));
}

void AppendUtf8(char32_t code_point, std::string& text) {
  const auto append = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    append(code_point);
  } else if (code_point < 0x800) {
    append(0xC0 | code_point >> 6);
    append(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    append(0xE0 | code_point >> 12);
    append(0x80 | (code_point >> 6 & 0x3F));
    append(0x80 | (code_point & 0x3F));
  } else {
    append(0xF0 | code_point >> 18);
    append(0x80 | (code_point >> 12 & 0x3F));
    append(0x80 | (code_point >> 6 & 0x3F));
    append(0x80 | (code_point & 0x3F));
  }
}

size_t ValidUtf8Prefix(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    uint64_t eight = 0;
    if (i + 8 <= text.size() &&
        (std::memcpy(&eight, text.data() + i, 8), (eight & 0x8080808080808080) == 0)) {
      i += 8;
      continue;
    }
    const DecodedCodePoint next = DecodeFirst(text.substr(i));
    if (!next.valid) break;
    i += static_cast<size_t>(next.length);
  }
  return i;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (true) {
    const size_t valid = ValidUtf8Prefix(text);
    result.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) return result;
    AppendUtf8(0xFFFD, result);
    text.remove_prefix(static_cast<size_t>(DecodeFirst(text).length));
  }
}

}  // namespace csm::text

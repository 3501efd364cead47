#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "base/error.h"
#include "text/byte_level.h"

namespace csm::text {
namespace {

uint32_t HashOf(std::string_view bytes) {
  const size_t hash = std::hash<std::string_view>()(bytes);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

}  // namespace

Vocabulary::Vocabulary(const TokenizerJson& file) {
  const size_t count = file.vocab.size();
  entries_.reserve(count);
  chars_.reserve(file.vocab.num_chars());
  slots_.assign(std::bit_ceil(2 * count + 2), Slot{0, -1});
  const int32_t max_id = count == 0 ? -1 : *std::max_element(file.ids.begin(), file.ids.end());
  entry_of_id_.assign(static_cast<size_t>(max_id) + 1, -1);
  for (size_t i = 0; i < count; ++i) {
    const std::string_view token = file.vocab[i];
    const size_t begin = chars_.size();
    const bool is_bytes = AppendBytesOfToken(token, chars_);
    if (!is_bytes) chars_.append(token);
    const std::string_view chars = std::string_view(chars_).substr(begin);
    if (FindEntry(chars, is_bytes) != nullptr) {
      Fail<FormatError>("{}: model.vocab has \"{}\" twice", file.source, token);
    }
    const int32_t id = file.ids[i];
    if (const int32_t other = entry_of_id_[static_cast<size_t>(id)]; other >= 0) {
      Fail<FormatError>("{}: model.vocab gives the id {} to both \"{}\" and \"{}\"", file.source,
                        id, file.vocab[static_cast<size_t>(other)], token);
    }
    const auto entry = static_cast<int32_t>(i);
    entries_.push_back({begin, static_cast<uint32_t>(chars.size()), id, is_bytes});
    entry_of_id_[static_cast<size_t>(id)] = entry;
    const uint32_t hash = HashOf(chars);
    size_t slot = hash & (slots_.size() - 1);
    while (slots_[slot].entry >= 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = {hash, entry};
  }
}

const Vocabulary::Entry* Vocabulary::FindEntry(std::string_view chars, bool is_bytes) const {
  const uint32_t hash = HashOf(chars);
  for (size_t slot = hash & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot].entry < 0) return nullptr;
    if (slots_[slot].hash != hash) continue;
    const Entry& entry = entries_[static_cast<size_t>(slots_[slot].entry)];
    if (entry.is_bytes == is_bytes && Chars(entry) == chars) return &entry;
  }
}

int32_t Vocabulary::Find(std::string_view bytes) const {
  const Entry* entry = FindEntry(bytes, true);
  return entry == nullptr ? -1 : entry->id;
}

int32_t Vocabulary::FindToken(std::string_view token) const {
  const std::optional<std::string> bytes = BytesOfToken(token);
  const Entry* entry = bytes ? FindEntry(*bytes, true) : FindEntry(token, false);
  return entry == nullptr ? -1 : entry->id;
}

const Vocabulary::Entry* Vocabulary::FindId(int32_t id) const {
  if (id < 0 || id > max_id()) return nullptr;
  const int32_t entry = entry_of_id_[static_cast<size_t>(id)];
  return entry < 0 ? nullptr : &entries_[static_cast<size_t>(entry)];
}

std::optional<std::string> Vocabulary::Token(int32_t id) const {
  const Entry* entry = FindId(id);
  if (entry == nullptr) return std::nullopt;
  return entry->is_bytes ? TokenOfBytes(Chars(*entry)) : std::string(Chars(*entry));
}

std::optional<std::string_view> Vocabulary::Decoded(int32_t id) const {
  const Entry* entry = FindId(id);
  if (entry == nullptr) return std::nullopt;
  return Chars(*entry);
}

}  // namespace csm::text

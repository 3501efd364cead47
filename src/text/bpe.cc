// Merging is done with a heap of (rank, position), so a piece of n bytes costs O(n log n): a
// hundred thousand equal letters are one piece. Positions on equal rank go from left to right, as
// in `tokenizers`.
#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"
#include "text/byte_level.h"

namespace csm::text {
namespace {

constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
constexpr uint64_t kFree = std::numeric_limits<uint64_t>::max();  // ids are below 2^31

uint64_t KeyOf(int32_t left, int32_t right) {
  return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
}

// A byte-level vocabulary spells every byte, so unknown tokens cannot occur and their settings do
// not matter; these change how known bytes are encoded.
void CheckSettings(const TokenizerJson& file, bool has_all_bytes) {
  const std::string where = file.source + ": model";
  const nlohmann::json& model = RequireMember(file.root, "model", file.source);
  if (const nlohmann::json& type = MemberOrNull(model, "type");
      !type.is_null() && RequireType(model, where) != "BPE") {
    Fail<FormatError>("{}.type is \"{}\"; only \"BPE\" is supported", where,
                      type.get<std::string>());
  }
  if (!file.has_vocab) Fail<FormatError>("{} has no \"vocab\" of tokens and ids", where);
  if (!file.has_merges) Fail<FormatError>("{} has no list of \"merges\"", where);
  if (const nlohmann::json& dropout = MemberOrNull(model, "dropout");
      !dropout.is_null() && dropout != 0.0) {
    Fail<FormatError>("{}.dropout is {}; only null is supported, because encoding is deterministic",
                      where, dropout.dump());
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!MemberOrNull(model, affix).is_null() && !RequireString(model, affix, where).empty()) {
      Fail<FormatError>("{}.{} is {}; only null is supported, because byte-level tokens have none",
                        where, affix, model[affix].dump());
    }
  }
  if (has_all_bytes) return;
  if (!MemberOrNull(model, "unk_token").is_null()) {
    Fail<FormatError>(
        "{}.unk_token is {}, but the vocabulary lacks some of the 256 bytes; an "
        "unknown token is not supported",
        where, model["unk_token"].dump());
  }
  if (BoolOr(model, "byte_fallback", false, where)) {
    Fail<FormatError>(
        "{}.byte_fallback is true, but the vocabulary lacks some of the 256 bytes; "
        "byte fallback is not supported",
        where);
  }
}

}  // namespace

MergeTable::MergeTable(size_t num_merges) {
  const size_t size = std::bit_ceil(std::max<size_t>(16, num_merges + num_merges / 2));
  slots_.assign(size, Slot{kFree, {kNoRank, -1}});
  shift_ = 64 - std::countr_zero(size);
}

// Fibonacci hashing: the high bits of the product depend on every bit of the key.
size_t MergeTable::SlotOf(uint64_t key) const { return (key * 0x9E3779B97F4A7C15) >> shift_; }

void MergeTable::Set(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = KeyOf(left, right);
  size_t slot = SlotOf(key);
  while (slots_[slot].key != kFree && slots_[slot].key != key) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  slots_[slot] = {key, merge};
}

const Merge* MergeTable::Find(int32_t left, int32_t right) const {
  const uint64_t key = KeyOf(left, right);
  for (size_t slot = SlotOf(key);; slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot].key == key) return &slots_[slot].merge;
    if (slots_[slot].key == kFree) return nullptr;
  }
}

Bpe::Bpe(const TokenizerJson& file, const Vocabulary& vocabulary) : merges_(file.right.size()) {
  for (size_t byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    byte_ids_[byte] = vocabulary.Find({&c, 1});
  }
  CheckSettings(file, *std::min_element(byte_ids_.begin(), byte_ids_.end()) >= 0);
  ignore_merges_ = BoolOr(file.root["model"], "ignore_merges", false, file.source + ": model");
  ReadMerges(file, vocabulary);
}

void Bpe::ReadMerges(const TokenizerJson& file, const Vocabulary& vocabulary) {
  std::string merged;
  const auto find = [&](std::string_view token, size_t i) {
    const size_t begin = merged.size();
    const bool is_bytes = AppendBytesOfToken(token, merged);
    const int32_t id = is_bytes ? vocabulary.Find(std::string_view(merged).substr(begin)) : -1;
    if (id < 0) {
      Fail<FormatError>(
          "{}: model.merges[{}] has \"{}\", which is not a byte-level token of the vocabulary",
          file.source, i, token);
    }
    return id;
  };
  for (size_t i = 0; i < file.right.size(); ++i) {
    merged.clear();
    const int32_t left = find(file.left[i], i);
    const int32_t right = find(file.right[i], i);
    const int32_t id = vocabulary.Find(merged);
    if (id < 0) {
      Fail<FormatError>("{}: model.merges[{}] makes \"{}{}\", which is not in the vocabulary",
                        file.source, i, file.left[i], file.right[i]);
    }
    merges_.Set(left, right, {static_cast<uint32_t>(i), id});
  }
}

void Bpe::FindMerge(std::vector<Workspace::Symbol>& symbols, int32_t left) const {
  Workspace::Symbol& symbol = symbols[static_cast<size_t>(left)];
  const Merge* merge = symbol.next < 0
                           ? nullptr
                           : merges_.Find(symbol.id, symbols[static_cast<size_t>(symbol.next)].id);
  symbol.merge = merge == nullptr ? Merge{kNoRank, -1} : *merge;
}

void Bpe::Encode(std::string_view piece, const Vocabulary& vocabulary, Workspace& workspace,
                 std::vector<int32_t>& ids) const {
  if (ignore_merges_) {
    if (const int32_t id = vocabulary.Find(piece); id >= 0) {
      ids.push_back(id);
      return;
    }
  }
  auto& symbols = workspace.symbols_;
  symbols.clear();
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id < 0) continue;
    const auto position = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, position - 1, position + 1, {kNoRank, -1}});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  auto& heap = workspace.heap_;
  heap.clear();
  const auto entry_of = [&](int32_t position) {
    return static_cast<uint64_t>(symbols[static_cast<size_t>(position)].merge.rank) << 32 |
           static_cast<uint32_t>(position);
  };
  for (int32_t i = 0; i < static_cast<int32_t>(symbols.size()); ++i) {
    FindMerge(symbols, i);
    if (symbols[static_cast<size_t>(i)].merge.rank != kNoRank) heap.push_back(entry_of(i));
  }
  const std::greater<uint64_t> later;
  std::make_heap(heap.begin(), heap.end(), later);
  const auto update = [&](int32_t position) {
    FindMerge(symbols, position);
    if (symbols[static_cast<size_t>(position)].merge.rank == kNoRank) return;
    heap.push_back(entry_of(position));
    std::push_heap(heap.begin(), heap.end(), later);
  };
  while (!heap.empty()) {
    const uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    const auto position = static_cast<int32_t>(top & 0xFFFFFFFF);
    Workspace::Symbol& left = symbols[static_cast<size_t>(position)];
    // An entry is stale if its pair has changed since: a rank stands for one pair.
    if (left.merge.rank != static_cast<uint32_t>(top >> 32)) continue;
    Workspace::Symbol& right = symbols[static_cast<size_t>(left.next)];
    left.id = left.merge.id;
    left.next = right.next;
    right.merge.rank = kNoRank;  // gone
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = position;
    update(position);
    if (left.previous >= 0) update(left.previous);
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    ids.push_back(symbols[static_cast<size_t>(i)].id);
  }
}

void Bpe::EncodeBytes(std::string_view piece, std::vector<int32_t>& ids) const {
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id >= 0) ids.push_back(id);
  }
}

}  // namespace csm::text

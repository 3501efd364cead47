// Byte-level byte pair encoding: a piece of text -> token ids.
#ifndef CSM_TEXT_BPE_H_
#define CSM_TEXT_BPE_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer_json.h"
#include "text/vocabulary.h"

namespace csm::text {

/// A merge of two neighbouring tokens. The lower the rank, the earlier it is done.
struct Merge {
  uint32_t rank;
  int32_t id;  ///< the token the two become
};

/// (left id, right id) -> Merge, in open addressing: Llama-3's 280,000 merges fill 8 MB.
class MergeTable {
 public:
  explicit MergeTable(size_t num_merges);
  /// A pair that is there already gets the new merge.
  void Set(int32_t left, int32_t right, Merge merge);
  /// Null if the two do not merge.
  const Merge* Find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  size_t SlotOf(uint64_t key) const;

  std::vector<Slot> slots_;
  int shift_;
};

/// Immutable; safe to share among threads, each with its own Workspace.
class Bpe {
 public:
  /// Memory that a thread uses again from piece to piece.
  class Workspace {
   private:
    friend class Bpe;
    // The tokens of a piece, as a list linked by index. A token's merge is that with its next.
    struct Symbol {
      int32_t id;
      int32_t previous, next;  // -1: none
      Merge merge;
    };
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> heap_;
  };

  /// `file.root["model"]` holds the settings. Throws FormatError for a model that is not byte-level
  /// BPE, naming the setting, and for a merge of tokens that are not in the vocabulary.
  Bpe(const TokenizerJson& file, const Vocabulary& vocabulary);

  /// Appends the ids of a piece of at most 2^31 - 1 bytes. Bytes that the vocabulary does not have
  /// are dropped, as `tokenizers` does.
  void Encode(std::string_view piece, const Vocabulary& vocabulary, Workspace& workspace,
              std::vector<int32_t>& ids) const;
  /// The same without any merge: one id per byte.
  void EncodeBytes(std::string_view piece, std::vector<int32_t>& ids) const;

 private:
  void ReadMerges(const TokenizerJson& file, const Vocabulary& vocabulary);
  void FindMerge(std::vector<Workspace::Symbol>& symbols, int32_t left) const;

  bool ignore_merges_ = false;              // a piece that is a token becomes it, merges or not
  std::array<int32_t, 256> byte_ids_ = {};  // -1: not in the vocabulary
  MergeTable merges_;
};

}  // namespace csm::text

#endif  // CSM_TEXT_BPE_H_

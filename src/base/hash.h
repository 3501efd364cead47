// A hash that tells contents apart: FNV-1a, 64 bits. An accident must not make two equal, and
// nobody gains from making them so on purpose.
#ifndef CSM_BASE_HASH_H_
#define CSM_BASE_HASH_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace csm {

class Hash {
 public:
  void Add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) {
      state_ = (state_ ^ std::to_integer<uint64_t>(byte)) * 0x100000001B3U;
    }
  }
  void Add(uint64_t value) { Add(std::as_bytes(std::span(&value, 1))); }
  void Add(std::string_view text) {
    Add(text.size());
    Add(std::as_bytes(std::span(text)));
  }
  /// The size, and of more than 16 KiB 16 pieces of 1 KiB, evenly spaced, first and last among
  /// them.
  void AddSamples(std::span<const std::byte> bytes) {
    constexpr size_t kNumPieces = 16, kPieceBytes = 1024;
    Add(bytes.size());
    if (bytes.size() <= kNumPieces * kPieceBytes) return Add(bytes);
    const size_t last = bytes.size() - kPieceBytes;
    for (size_t i = 0; i < kNumPieces; ++i) {
      Add(bytes.subspan(last * i / (kNumPieces - 1), kPieceBytes));
    }
  }
  uint64_t state() const { return state_; }

 private:
  uint64_t state_ = 0xCBF29CE484222325U;
};

}  // namespace csm

#endif  // CSM_BASE_HASH_H_

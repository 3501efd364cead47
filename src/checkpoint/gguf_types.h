// Numbers of the GGUF format.
#ifndef CSM_CHECKPOINT_GGUF_TYPES_H_
#define CSM_CHECKPOINT_GGUF_TYPES_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

#include "csm/csm.hpp"

namespace csm::checkpoint {

inline constexpr std::string_view kGgufMagic = "GGUF";  ///< which a file begins with
inline constexpr uint32_t kGgufVersion = 3;
inline constexpr uint32_t kGgufUint32 = 4, kGgufString = 8, kGgufArray = 9;  // of metadata
inline constexpr char kGgufAlignmentKey[] = "general.alignment";

/// Says that codebooks_head is stored as quantization needs it, a row's inputs side by side.
inline constexpr char kGgufHeadLayoutKey[] = "csm.codebooks_head_layout";
inline constexpr char kGgufHeadLayout[] = "codebook, output, input";

/// A type of tensors that is read here, by ggml's number and name.
struct GgufType {
  uint32_t number;
  DType dtype;
  const char* name;
};
inline constexpr GgufType kGgufTypes[] = {{0, DType::kF32, "F32"},
                                          {1, DType::kF16, "F16"},
                                          {8, DType::kQ8_0, "Q8_0"},
                                          {20, DType::kQ4, "IQ4_NL"},
                                          {30, DType::kBF16, "BF16"}};

inline bool BeginsAsGguf(std::span<const std::byte> file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  return text.starts_with(kGgufMagic);
}

inline const GgufType* FindGgufType(uint32_t number) {
  for (const GgufType& type : kGgufTypes) {
    if (type.number == number) return &type;
  }
  return nullptr;
}

inline const GgufType& GgufTypeOf(DType dtype) {
  return *std::find_if(std::begin(kGgufTypes), std::end(kGgufTypes),
                       [&](const GgufType& type) { return type.dtype == dtype; });
}

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_GGUF_TYPES_H_

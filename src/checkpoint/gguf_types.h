// Numbers of the GGUF format.
#ifndef CSM_CHECKPOINT_GGUF_TYPES_H_
#define CSM_CHECKPOINT_GGUF_TYPES_H_

#include <cstdint>

#include "csm/csm.hpp"

namespace csm::checkpoint {

inline constexpr uint32_t kGgufVersion = 3;
inline constexpr uint32_t kGgufUint32 = 4, kGgufString = 8, kGgufArray = 9;  // of metadata
inline constexpr char kGgufAlignmentKey[] = "general.alignment";

/// Says that codebooks_head is stored as quantization needs it, a row's inputs side by side.
inline constexpr char kGgufHeadLayoutKey[] = "csm.codebooks_head_layout";
inline constexpr char kGgufHeadLayout[] = "codebook, output, input";

/// A type of tensors that is read here, by ggml's number.
struct GgufType {
  uint32_t number;
  DType dtype;
};
inline constexpr GgufType kGgufTypes[] = {
    {0, DType::kF32}, {1, DType::kF16}, {8, DType::kQ8_0}, {20, DType::kQ4}, {30, DType::kBF16}};

inline const GgufType* FindGgufType(uint32_t number) {
  for (const GgufType& type : kGgufTypes) {
    if (type.number == number) return &type;
  }
  return nullptr;
}

inline uint32_t GgufNumber(DType dtype) {
  for (const GgufType& type : kGgufTypes) {
    if (type.dtype == dtype) return type.number;
  }
  return 0;
}

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_GGUF_TYPES_H_

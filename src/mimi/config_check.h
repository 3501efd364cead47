// Which codecs this room can run.
#ifndef CSM_MIMI_CONFIG_CHECK_H_
#define CSM_MIMI_CONFIG_CHECK_H_

#include <cstdint>

#include "csm/csm.hpp"

namespace csm::mimi {

/// Throws FormatError naming the first field out of range, or set to a variant that transformers
/// has but no CSM checkpoint uses: non-causal convolutions, stereo, trim_right_ratio below 1.
void CheckConfig(const MimiConfig& config);

/// Transformer steps per frame, e.g. 2, by transformers' own formula.
int64_t LatentStride(const MimiConfig& config);

}  // namespace csm::mimi

#endif  // CSM_MIMI_CONFIG_CHECK_H_

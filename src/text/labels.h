// Training labels of a processed batch.
#ifndef CSM_TEXT_LABELS_H_
#define CSM_TEXT_LABELS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "csm/csm.hpp"
#include "text/processor_files.h"

namespace csm::text {

/// HF's label values that are no id.
inline constexpr int32_t kIgnore = -100;        ///< no loss at this position
inline constexpr int32_t kBackboneOnly = -101;  ///< an audio frame whose codebook 0 alone is learnt

/// Fills `labels` of every row: the id itself where it stands for audio (`<|AUDIO|>`,
/// `<|audio_eos|>`), else -100. Of the n audio frames of the whole batch, int(n * (1 - ratio)), as
/// transformers counts, become -101: codebook 0 only. Which ones is drawn by (seed, row, frame in
/// the row). `learnt`: of each row, which of its clips have labels at all; empty: every one. Throws
/// ArgumentError if ratio is outside [0, 1].
void SetLabels(const PromptTokens& tokens, double ratio, uint64_t seed,
               std::span<const std::vector<bool>> learnt, CsmInputs* inputs);

}  // namespace csm::text

#endif  // CSM_TEXT_LABELS_H_

// The engine's choice of codes (engine/sampler.h) as tensor operations, so that it may run where
// the logits are, for many rows at once, without a word to the processor.
#ifndef CSM_TORCH_CHOOSE_CODES_H_
#define CSM_TORCH_CHOOSE_CODES_H_

#include <torch/torch.h>

#include "csm/csm.hpp"

namespace csm::train {

/// logits [rows, vocab_size] in f32, -inf where a code must not be chosen; uniforms [rows] in f64,
/// in [0, 1) -> codes [rows] of int64. The rules are ChooseCode's, in the same order; sums run in
/// another order, so a draw at a border may fall on its other
/// side (within some 1e-15; a GPU divides by a temperature with an error of an f32 ulp). Rows that
/// ChooseCode would refuse (IsSound) get some code.
torch::Tensor ChooseCodes(const SamplingConfig& config, const torch::Tensor& logits,
                          const torch::Tensor& uniforms);

/// [rows]: no logit is NaN or +inf, and one at least is finite.
torch::Tensor IsSound(const torch::Tensor& logits);

}  // namespace csm::train

#endif  // CSM_TORCH_CHOOSE_CODES_H_

// From logits to a code: HF's logits warpers in HF's order, then one draw.
#ifndef CSM_ENGINE_SAMPLER_H_
#define CSM_ENGINE_SAMPLER_H_

#include <cstdint>
#include <span>
#include <vector>

#include "csm/csm.hpp"

namespace csm::engine {

/// A code that may still be drawn, with its (warped) logit.
struct Candidate {
  int32_t code;
  float score;
};

/// Drops and rescales candidates as transformers' warpers do (generation/logits_process.py, 5.23):
/// temperature, top_h, top_k, top_p, min_p, typical_p, epsilon_cutoff, eta_cutoff, each on the
/// survivors of the one before. At least one candidate survives. On return the candidates are in
/// the order of their codes. `config` must be valid (GenerationConfig::validate).
void Warp(const SamplingConfig& config, std::vector<Candidate>& candidates);

/// Sets the logits of ids that the codec cannot decode to -inf. HF leaves them in play and crashes
/// in the codec if one is chosen.
void MaskUndecodable(int64_t codebook_size, std::span<float> logits);

/// Chooses one code. Greedy: the largest score, of equals the lowest code. Sampling: warps, then
/// inverts the cumulative distribution at `uniform` in [0, 1). Logits of -inf are never chosen.
/// Throws Error if a logit is NaN or +inf, or all are -inf. If `scores` is not null it receives
/// what HF calls scores: the warped logits, -inf where dropped.
int32_t ChooseCode(const SamplingConfig& config, std::span<const float> logits, double uniform,
                   std::span<float> scores = {});

}  // namespace csm::engine

#endif  // CSM_ENGINE_SAMPLER_H_

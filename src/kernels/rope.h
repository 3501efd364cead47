// Rotary position embedding: angles of a position, shared by every stack (kernels::Rope applies
// them).
#ifndef CSM_KERNELS_ROPE_H_
#define CSM_KERNELS_ROPE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "csm/csm.hpp"

namespace csm::kernels {

/// Inverse frequencies [head_dim / 2] for rope_type "default" or "llama3", in f32 step by step as
/// transformers computes them, so that angles at high positions agree to the bit.
std::vector<float> RopeInverseFrequencies(const RopeParameters& parameters, int64_t head_dim);

/// cos and sin [n] of position * inverse_frequencies[i], each rounded to f32.
void RopeAngles(const std::vector<float>& inverse_frequencies, int64_t position, float* cos,
                float* sin);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_ROPE_H_

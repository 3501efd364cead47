// Counter-based random numbers: the same (key, counter) gives the same bits on every machine, in
// any order and on any thread. Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3" (SC 2011).
#ifndef CSM_BASE_PHILOX_H_
#define CSM_BASE_PHILOX_H_

#include <array>
#include <cstdint>

namespace csm {

/// Four independent 32-bit words for a 64-bit key and a 128-bit counter.
std::array<uint32_t, 4> Philox4x32(uint64_t key, std::array<uint32_t, 4> counter);

/// Uniform in [0, 1) with 53 random bits, for the draw named by (seed, sequence, frame, codebook).
double UniformAt(uint64_t seed, uint64_t sequence, uint64_t frame, uint64_t codebook);

}  // namespace csm

#endif  // CSM_BASE_PHILOX_H_

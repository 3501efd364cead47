// Split residual vector quantizer: latents to codes and back.
#ifndef CSM_MIMI_QUANTIZER_H_
#define CSM_MIMI_QUANTIZER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "kernels/matrix_view.h"
#include "mimi/rows.h"

namespace csm::mimi {

/// Scratch of a stream, so that a frame allocates nothing.
struct QuantizerScratch {
  Rows residual{0};   ///< [frames, codebook_dim]
  Rows distances{0};  ///< [frames, codebook_size]
};

/// Codebooks that each quantize what the ones before left over.
class ResidualVectorQuantizer {
 public:
  ResidualVectorQuantizer(checkpoint::WeightLoader& loader, const std::string& prefix,
                          const MimiConfig& config, size_t num_codebooks);

  size_t num_codebooks() const { return codebooks_.size(); }

  /// Codes of the first num_codebooks for latents [num_frames, hidden_size]: code k of frame t goes
  /// to codes[t * stride + k].
  void Encode(const float* latents, size_t num_frames, size_t num_codebooks, int32_t* codes,
              size_t stride, QuantizerScratch& scratch, ThreadPool& pool) const;

  /// The other way: writes latents [num_frames, hidden_size], or adds to them.
  void Decode(const int32_t* codes, size_t num_frames, size_t num_codebooks, size_t stride,
              bool accumulate, float* latents, QuantizerScratch& scratch, ThreadPool& pool) const;

 private:
  struct Codebook {
    kernels::PackedMatrix vectors;    ///< [codebook_size, codebook_dim], f32
    std::vector<float> square_norms;  ///< [codebook_size]
  };
  static Codebook LoadCodebook(checkpoint::WeightLoader& loader, const std::string& name,
                               const MimiConfig& config);

  size_t hidden_size_, dim_;
  std::optional<kernels::PackedMatrix> input_proj_, output_proj_;  ///< none if dim_ == hidden_size_
  std::vector<Codebook> codebooks_;
};

/// The first num_semantic_quantizers codebooks and the others quantize the same latent, each group
/// by itself.
class SplitResidualVectorQuantizer {
 public:
  SplitResidualVectorQuantizer(checkpoint::WeightLoader& loader, const std::string& prefix,
                               const MimiConfig& config);

  /// codes [num_frames, num_codebooks] of latents [num_frames, hidden_size].
  void Encode(const float* latents, size_t num_frames, size_t num_codebooks, int32_t* codes,
              QuantizerScratch& scratch, ThreadPool& pool) const;
  /// latents [num_frames, hidden_size] of codes [num_frames, num_codebooks], all in range.
  void Decode(const int32_t* codes, size_t num_frames, size_t num_codebooks, float* latents,
              QuantizerScratch& scratch, ThreadPool& pool) const;

 private:
  ResidualVectorQuantizer semantic_, acoustic_;
};

}  // namespace csm::mimi

#endif  // CSM_MIMI_QUANTIZER_H_

#include "mimi/quantizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/packed.h"

namespace csm::mimi {
namespace {

constexpr float kMinClusterUsage = 1e-5F;  // HF's epsilon

// ‖x‖², summed in double: HF's own order of summation is the library's secret.
float SquareNorm(const float* x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return static_cast<float>(sum);
}

// Index of the nearest codebook vector e, given the products x · e; the lowest of equals. Distances
// are computed in torch.cdist's form, -2 x·e + ‖x‖² + ‖e‖² in this order, then clamped and rooted:
// the root makes neighbours equal, so leaving it out would choose other indices than HF does.
int32_t Nearest(const float* products, float square_norm, const std::vector<float>& square_norms) {
  float best = INFINITY;
  size_t best_index = 0;
  for (size_t i = 0; i < square_norms.size(); ++i) {
    const float square = (-2 * products[i] + square_norm) + square_norms[i];
    const float distance = std::sqrt(std::max(square, 0.0F));
    if (distance < best) {
      best = distance;
      best_index = i;
    }
  }
  return static_cast<int32_t>(best_index);
}

// A convolution over one position: a matrix.
kernels::PackedMatrix Pointwise(checkpoint::WeightLoader& loader, const std::string& name,
                                int64_t out, int64_t in) {
  const auto cols = static_cast<size_t>(in);
  return loader.Rearranged(name, std::array<int64_t, 3>{out, in, 1}, static_cast<size_t>(out), cols,
                           [cols](size_t row, std::span<size_t> sources) {
                             std::iota(sources.begin(), sources.end(), row * cols);
                           });
}

float* Reset(Rows& rows, size_t channels, size_t num_rows) {
  if (rows.channels() != channels) rows = Rows(channels);
  rows.Clear();
  return rows.Append(num_rows);
}

}  // namespace

ResidualVectorQuantizer::ResidualVectorQuantizer(checkpoint::WeightLoader& loader,
                                                 const std::string& prefix,
                                                 const MimiConfig& config, size_t num_codebooks)
    : hidden_size_(static_cast<size_t>(config.hidden_size)),
      dim_(static_cast<size_t>(config.codebook_dim)) {
  const int64_t hidden = config.hidden_size;
  const int64_t inner = config.vector_quantization_hidden_dimension;
  if (inner != hidden) {
    input_proj_ = Pointwise(loader, prefix + "input_proj.weight", inner, hidden);
    output_proj_ = Pointwise(loader, prefix + "output_proj.weight", hidden, inner);
  }
  for (size_t k = 0; k < num_codebooks; ++k) {
    const std::string name = fmt::format("{}layers.{}.codebook.", prefix, k);
    codebooks_.push_back(LoadCodebook(loader, name, config));
  }
}

ResidualVectorQuantizer::Codebook ResidualVectorQuantizer::LoadCodebook(
    checkpoint::WeightLoader& loader, const std::string& name, const MimiConfig& config) {
  const std::array<int64_t, 2> shape = {config.codebook_size, config.codebook_dim};
  const std::array<int64_t, 1> usage_shape = {config.codebook_size};
  std::vector<float> vectors = loader.Floats(name + "embed_sum", shape);
  const std::vector<float> usage = loader.Floats(name + "cluster_usage", usage_shape);
  const auto dim = static_cast<size_t>(config.codebook_dim);
  Codebook codebook;
  for (size_t i = 0; i < usage.size(); ++i) {
    const float divisor = std::max(usage[i], kMinClusterUsage);
    for (size_t d = 0; d < dim; ++d) vectors[i * dim + d] /= divisor;
    codebook.square_norms.push_back(SquareNorm(vectors.data() + i * dim, dim));
    if (!std::isfinite(codebook.square_norms.back())) {
      Fail<FormatError>(
          "the codec's codebook {} has an entry {} that is not finite, expected numbers", name, i);
    }
  }
  codebook.vectors = loader.Adopt(vectors, usage.size(), dim);
  return codebook;
}

void ResidualVectorQuantizer::Encode(const float* latents, size_t num_frames, size_t num_codebooks,
                                     int32_t* codes, size_t stride, QuantizerScratch& scratch,
                                     ThreadPool& pool) const {
  float* residual = Reset(scratch.residual, dim_, num_frames);
  if (input_proj_) {
    kernels::MatMul({latents, num_frames, hidden_size_},
                    {.weight = *input_proj_, .y = residual, .y_stride = dim_}, pool);
  } else {
    std::copy_n(latents, num_frames * dim_, residual);
  }
  const float sum = std::accumulate(residual, residual + num_frames * dim_, 0.0F);
  if (!std::isfinite(sum)) {  // any entry would be the nearest
    Fail<Error>("the codec's encoder computed {}; its weights or its input are not sound", sum);
  }
  for (size_t k = 0; k < num_codebooks; ++k) {
    const Codebook& codebook = codebooks_[k];
    const size_t size = codebook.vectors.rows;
    float* products = Reset(scratch.distances, size, num_frames);
    kernels::MatMul({residual, num_frames, dim_},
                    {.weight = codebook.vectors, .y = products, .y_stride = size}, pool);
    ForRowBlocks(num_frames, size, pool, [&](size_t first, size_t count) {
      for (size_t t = first; t < first + count; ++t) {
        float* x = residual + t * dim_;
        const int32_t code =
            Nearest(products + t * size, SquareNorm(x, dim_), codebook.square_norms);
        codes[t * stride + k] = code;
        kernels::AddPackedRow(codebook.vectors, static_cast<size_t>(code), -1.0F, x);
      }
    });
  }
}

void ResidualVectorQuantizer::Decode(const int32_t* codes, size_t num_frames, size_t num_codebooks,
                                     size_t stride, bool accumulate, float* latents,
                                     QuantizerScratch& scratch, ThreadPool& pool) const {
  float* sums = Reset(scratch.residual, dim_, num_frames);
  std::fill_n(sums, num_frames * dim_, 0.0F);
  for (size_t t = 0; t < num_frames; ++t) {
    for (size_t k = 0; k < num_codebooks; ++k) {
      const auto code = static_cast<size_t>(codes[t * stride + k]);
      kernels::AddPackedRow(codebooks_[k].vectors, code, 1.0F, sums + t * dim_);
    }
  }
  if (output_proj_) {
    kernels::MatMul(
        {sums, num_frames, dim_},
        {.weight = *output_proj_, .y = latents, .y_stride = hidden_size_, .accumulate = accumulate},
        pool);
  } else if (accumulate) {
    kernels::Add(sums, latents, num_frames * dim_);
  } else {
    std::copy_n(sums, num_frames * dim_, latents);
  }
}

SplitResidualVectorQuantizer::SplitResidualVectorQuantizer(checkpoint::WeightLoader& loader,
                                                           const std::string& prefix,
                                                           const MimiConfig& config)
    : semantic_(loader, prefix + "semantic_residual_vector_quantizer.", config,
                static_cast<size_t>(config.num_semantic_quantizers)),
      acoustic_(loader, prefix + "acoustic_residual_vector_quantizer.", config,
                static_cast<size_t>(config.num_quantizers - config.num_semantic_quantizers)) {}

void SplitResidualVectorQuantizer::Encode(const float* latents, size_t num_frames,
                                          size_t num_codebooks, int32_t* codes,
                                          QuantizerScratch& scratch, ThreadPool& pool) const {
  if (num_frames == 0) return;
  const size_t num_semantic = std::min(num_codebooks, semantic_.num_codebooks());
  semantic_.Encode(latents, num_frames, num_semantic, codes, num_codebooks, scratch, pool);
  if (num_codebooks > num_semantic) {
    acoustic_.Encode(latents, num_frames, num_codebooks - num_semantic, codes + num_semantic,
                     num_codebooks, scratch, pool);
  }
}

void SplitResidualVectorQuantizer::Decode(const int32_t* codes, size_t num_frames,
                                          size_t num_codebooks, float* latents,
                                          QuantizerScratch& scratch, ThreadPool& pool) const {
  if (num_frames == 0) return;
  const size_t num_semantic = std::min(num_codebooks, semantic_.num_codebooks());
  semantic_.Decode(codes, num_frames, num_semantic, num_codebooks, /*accumulate=*/false, latents,
                   scratch, pool);
  if (num_codebooks > num_semantic) {
    acoustic_.Decode(codes + num_semantic, num_frames, num_codebooks - num_semantic, num_codebooks,
                     /*accumulate=*/true, latents, scratch, pool);
  }
}

}  // namespace csm::mimi

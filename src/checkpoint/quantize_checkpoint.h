// A whole model in one GGUF file, its matrices quantized.
#ifndef CSM_CHECKPOINT_QUANTIZE_CHECKPOINT_H_
#define CSM_CHECKPOINT_QUANTIZE_CHECKPOINT_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/model_dir.h"

namespace csm::checkpoint {

/// What became of a tensor.
struct QuantizedTensor {
  std::string name;
  DType dtype;
  int64_t num_weights = 0;
  int64_t num_bytes = 0;
  int64_t row_length = 0;
  bool stays_wide = false;    ///< a matrix whose rows do not divide into blocks
  double relative_error = 0;  ///< |w' - w| / |w|, Euclidean; 0: as it was
};

/// Writes every tensor of `checkpoint`, and the model's files (config, generation config,
/// tokenizer, processor), to a GGUF file that every from_pretrained reads: matrices outside the
/// codec as `dtype`, or as f16 if their rows do not divide into blocks; the codec's decoder as f16
/// if `dtype` is quantized; the rest as stored. Names are HF's; codebooks_head is stored
/// transposed. Memory is bounded by a few MB; the file appears whole or not at all. `progress` is
/// called with bytes read so far and in all. Throws FileError, ArgumentError.
std::vector<QuantizedTensor> QuantizeCheckpoint(const CsmCheckpoint& checkpoint, DType dtype,
                                                const std::filesystem::path& output,
                                                ThreadPool& pool, const ByteProgress& progress);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_QUANTIZE_CHECKPOINT_H_

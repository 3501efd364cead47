// Mimi's decoder for a batch of streams on a device: one frame of each a step.
#ifndef CSM_TORCH_MIMI_DECODER_H_
#define CSM_TORCH_MIMI_DECODER_H_

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "torch/mimi_layers.h"
#include "torch/recorder.h"

namespace csm::train {

/// Latents of codes: HF's split residual vector quantizer.
class CodebookTables {
 public:
  CodebookTables(CodecWeights& weights, int64_t num_codebooks);
  /// codes [rows, num_codebooks] -> latents [rows, hidden_size, 1].
  torch::Tensor Decode(const torch::Tensor& codes) const;
  int64_t num_codebooks() const { return num_codebooks_; }

 private:
  struct Group {
    int64_t first = 0;
    torch::Tensor vectors;  // [codebooks, codebook_size, codebook_dim]
    torch::Tensor output;   // [hidden_size, codebook_dim]; undefined: they are of one size
  };
  void AddGroup(CodecWeights& weights, const std::string& name, int64_t first, int64_t count);
  int64_t num_codebooks_;
  std::vector<Group> groups_;
};

/// Not thread-safe; f32. A row that has no frame computes along.
class MimiDecoder {
 public:
  /// `codebooks` may be shared by decoders.
  MimiDecoder(CodecWeights& weights, std::shared_ptr<const CodebookTables> codebooks, int64_t rows);

  /// codes [rows, num_codebooks], is_new [rows]: streams that begin -> samples [rows, frame_size].
  torch::Tensor Step(const torch::Tensor& codes, const torch::Tensor& is_new);
  /// What is masked must be finite too: before all streams are new.
  void Clear() { transformer_.Clear(); }

 private:
  struct Stage {
    StreamConvTranspose upsample;
    std::vector<StreamResnetBlock> blocks;
  };
  std::shared_ptr<const CodebookTables> codebooks_;
  StreamConvTranspose upsample_;
  StreamTransformer transformer_;
  StreamConv first_, last_;
  std::vector<Stage> stages_;
};

/// The step, recorded. Not thread-safe.
class MimiProgram {
 public:
  MimiProgram(CodecWeights& weights, std::shared_ptr<const CodebookTables> codebooks, int64_t rows);

  torch::Tensor& codes() { return host_codes_; }  ///< [rows, num_codebooks] of int64, to be written
  torch::Tensor& is_new() { return host_is_new_; }  ///< [rows], to be written
  void Step();
  void Clear() {
    recorder_->Run([this] { decoder_->Clear(); });
  }
  int64_t rows() const { return host_codes_.size(0); }
  const torch::Tensor& samples() const { return host_samples_; }  ///< [rows, frame_size]

 private:
  std::unique_ptr<MimiDecoder> decoder_;
  torch::Tensor codes_, is_new_, samples_;
  torch::Tensor host_codes_, host_is_new_, host_samples_;
  std::unique_ptr<Recorder> recorder_;  // goes first, when its work with the others is done
};

}  // namespace csm::train

#endif  // CSM_TORCH_MIMI_DECODER_H_

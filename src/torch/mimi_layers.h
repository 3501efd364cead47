// The layers of Mimi's decoder for batches of streams: each keeps at fixed addresses what later
// steps need, so that a step may be recorded. Signals are [rows, channels, time].
#ifndef CSM_TORCH_MIMI_LAYERS_H_
#define CSM_TORCH_MIMI_LAYERS_H_

#include <torch/torch.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/model_dir.h"
#include "torch/layers.h"
#include "torch/static_cache.h"

namespace csm::train {

/// Hands out the codec's tensors in f32. Not thread-safe.
class CodecWeights {
 public:
  CodecWeights(checkpoint::MimiCheckpoint checkpoint, torch::Device device)
      : checkpoint_(std::move(checkpoint)), device_(device) {}

  /// Tensor `name`, without the codec's prefix; it is there. All who ask for one share it.
  torch::Tensor Get(const std::string& name);
  /// One for the caller alone.
  torch::Tensor Load(const std::string& name) const;
  const MimiConfig& config() const { return checkpoint_.config; }
  /// Whether a convolution sees its first sample before a stream, not zeros.
  bool replicates() const { return config().pad_mode == "replicate"; }
  torch::TensorOptions options() const { return torch::dtype(torch::kFloat32).device(device_); }

 private:
  checkpoint::MimiCheckpoint checkpoint_;
  torch::Device device_;
  std::map<std::string, torch::Tensor> loaded_;
};

/// HF's MimiConv1d of stride 1 with use_causal_conv.
class StreamConv {
 public:
  struct Shape {
    int64_t rows = 1;
    int64_t dilation = 1;
    bool elu = false;         ///< the ELU in front of this layer
    bool replicates = false;  ///< before the first sample of a stream stands the same again
  };
  /// Reads `name`.weight and `name`.bias.
  StreamConv(CodecWeights& weights, const std::string& name, const Shape& shape);

  /// x [rows, in_channels, n] -> [rows, out_channels, n]. `is_new` [rows, 1, 1]: streams that
  /// begin.
  torch::Tensor Step(const torch::Tensor& x, const torch::Tensor& is_new);

 private:
  Shape shape_;
  torch::Tensor weight_, bias_;
  torch::Tensor before_;  // [rows, in_channels, what an output looks back on]
};

/// HF's MimiConvTranspose1d with use_causal_conv and trim_right_ratio 1: input t gives outputs from
/// t * stride on.
class StreamConvTranspose {
 public:
  struct Shape {
    int64_t rows = 1;
    int64_t stride = 1;
    int64_t groups = 1;
    bool bias = true;
    bool elu = false;
  };
  StreamConvTranspose(CodecWeights& weights, const std::string& name, const Shape& shape);

  /// x [rows, in_channels, n] -> [rows, out_channels, n * stride].
  torch::Tensor Step(const torch::Tensor& x, const torch::Tensor& is_new);

 private:
  Shape shape_;
  torch::Tensor weight_, bias_;
  torch::Tensor before_;  // [rows, in_channels, taps - 1]
};

/// HF's MimiResnetBlock.
class StreamResnetBlock {
 public:
  StreamResnetBlock(CodecWeights& weights, const std::string& name, int64_t rows, int64_t dilation);
  torch::Tensor Step(const torch::Tensor& x, const torch::Tensor& is_new);

 private:
  StreamConv squeeze_, expand_;
  std::optional<StreamConv> shortcut_;
};

/// HF's MimiTransformerModel over a sliding window, whose keys and values lie in a ring.
class StreamTransformer {
 public:
  StreamTransformer(CodecWeights& weights, const std::string& prefix, int64_t rows,
                    int64_t step_length);

  /// x [rows, hidden_size, step_length] -> the same.
  torch::Tensor Step(const torch::Tensor& x, const torch::Tensor& is_new);
  void Clear() { cache_.Clear(); }

 private:
  struct Norm {
    torch::Tensor weight, bias;
  };
  struct Layer {
    Norm input_norm, post_attention_norm;
    Attention attention{nullptr};
    torch::Tensor fc1, fc2, attention_scale, mlp_scale;
  };
  CacheStep NextStep(const torch::Tensor& is_new);
  torch::Tensor Normalize(const Norm& norm, const torch::Tensor& x) const;

  int64_t window_, capacity_, head_dim_;
  double norm_eps_;
  torch::Tensor inverse_frequencies_;  // [head_dim / 2]
  torch::Tensor slots_;                // [capacity]: 0, 1, …
  torch::Tensor ahead_;                // [step_length]: 0, 1, …
  torch::Tensor length_;               // [rows], positions so far
  std::vector<Layer> layers_;
  StaticCache cache_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_MIMI_LAYERS_H_

// SEANet (Tagliasacchi et al. 2020): the convolutional ends of the codec, between audio at
// sampling_rate and hidden states at encodec_frame_rate.
#ifndef CSM_MIMI_SEANET_H_
#define CSM_MIMI_SEANET_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/weight_loader.h"
#include "csm/csm.hpp"
#include "mimi/conv.h"
#include "mimi/rows.h"

namespace csm::mimi {

/// x + conv1(ELU(conv_k(ELU(x)))), or with a pointwise convolution of x in place of x
/// (use_conv_shortcut). HF's MimiResnetBlock.
class ResnetBlock {
 public:
  ResnetBlock(checkpoint::WeightLoader& loader, const std::string& name, const MimiConfig& config,
              size_t channels, size_t dilation);

  struct State {
    explicit State(const ResnetBlock& block);
    Conv1d::State squeeze, expand;
    std::optional<Conv1d::State> shortcut;
  };
  /// Buffers of any block, kept between calls.
  struct Scratch {
    std::vector<float> hidden, residual;
    ConvScratch windows;
  };

  /// Replaces x [streams, num_rows, channels].
  void Step(Streams<State> streams, float* x, size_t num_rows, Scratch& scratch,
            ThreadPool& pool) const;

 private:
  Conv1d squeeze_, expand_;
  std::optional<Conv1d> shortcut_;
};

/// Samples to hidden states [ceil(samples / Π ratios), hidden_size].
class SeanetEncoder {
 public:
  SeanetEncoder(checkpoint::WeightLoader& loader, const std::string& prefix,
                const MimiConfig& config);

  struct State {
    explicit State(const SeanetEncoder& encoder);
    Conv1d::State first, last;
    struct Stage {
      std::vector<ResnetBlock::State> blocks;
      Conv1d::State downsample;
      Rows output;  ///< of the step under way
    };
    std::vector<Stage> stages;
    Rows piece;  ///< scratch: output of the first layer
    ResnetBlock::Scratch scratch;
  };

  /// Appends to y the hidden states that num_samples more samples complete; `is_end`: and those
  /// that the end of the signal completes, each layer padding its own input as HF does.
  void Step(State& state, const float* samples, size_t num_samples, bool is_end, Rows& y,
            ThreadPool& pool) const;

 private:
  struct Stage {
    std::vector<ResnetBlock> blocks;
    Conv1d downsample;  ///< doubles the channels
  };
  void StepStage(const Stage& stage, State::Stage& state, float* x, size_t num_rows,
                 ResnetBlock::Scratch& scratch, ThreadPool& pool) const;

  Conv1d first_;
  std::vector<Stage> stages_;
  Conv1d last_;
};

/// Layers run on pieces of about this many floats, so that what they hand to each other (a few
/// times as much) stays near in cache while enough rows share each read of the weights. Measured at
/// the published geometry on an Ice Lake core (1.25 MB second level): 64 K floats cost 2 % more, 32
/// K 5 %.
inline constexpr size_t kPieceFloats = 131072;

/// Hidden states [frames, hidden_size] to samples, Π ratios for each.
class SeanetDecoder {
 public:
  SeanetDecoder(checkpoint::WeightLoader& loader, const std::string& prefix,
                const MimiConfig& config, size_t piece_floats = kPieceFloats);

  struct State {
    explicit State(const SeanetDecoder& decoder);
    Conv1d::State first, last;
    struct Stage {
      ConvTranspose1d::State upsample;
      std::vector<ResnetBlock::State> blocks;
    };
    std::vector<Stage> stages;
  };
  /// Buffers, kept between calls.
  struct Scratch {
    explicit Scratch(const SeanetDecoder& decoder);
    std::vector<Rows> inputs;  ///< of the stages
    Rows piece;                ///< input of the last layer
    ResnetBlock::Scratch block;
  };

  size_t samples_per_row() const { return samples_per_row_; }

  /// Writes samples [streams, num_rows * samples_per_row()] of x [streams, num_rows, hidden_size].
  void Step(Streams<State> streams, const float* x, size_t num_rows, float* samples,
            Scratch& scratch, ThreadPool& pool) const;

 private:
  void StepStage(size_t stage, Streams<State> streams, const float* x, size_t num_rows, float* y,
                 Scratch& scratch, ThreadPool& pool) const;

  struct Stage {
    ConvTranspose1d upsample;  ///< halves the channels
    std::vector<ResnetBlock> blocks;
  };

  size_t piece_floats_;
  size_t samples_per_row_ = 1;
  Conv1d first_;
  std::vector<Stage> stages_;
  Conv1d last_;
};

}  // namespace csm::mimi

#endif  // CSM_MIMI_SEANET_H_

// Causal convolutions over channels-last audio, as products of matrices.
//
// With time-major memory the inputs of one output, [kernel, in_channels], lie in one piece, and
// those of the next output begin stride * in_channels further on: a convolution is a product whose
// rows overlap, and nothing is copied but the few inputs that a stream must remember. Inputs are
// gathered where they do not lie in one piece: with a dilation, and where several streams have a
// few outputs each, to be multiplied together.
#ifndef CSM_MIMI_CONV_H_
#define CSM_MIMI_CONV_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/weight_loader.h"
#include "kernels/matrix_view.h"
#include "mimi/rows.h"

namespace csm::mimi {

enum class Padding { kZeros, kReplicate };

/// Gathered inputs, kept between calls.
using ConvScratch = std::vector<float>;

/// Convolution whose output t depends on inputs up to t * stride + stride - 1: HF's MimiConv1d with
/// use_causal_conv. Immutable; streams hold a State each.
class Conv1d {
 public:
  struct Shape {
    size_t in_channels = 0;
    size_t out_channels = 0;
    size_t kernel = 1;
    size_t stride = 1;
    size_t dilation = 1;  ///< 1 if stride > 1
    bool bias = true;
    bool elu = false;  ///< the ELU in front of this layer is applied as its input is stored
    Padding padding = Padding::kZeros;
  };

  /// Reads `name`.weight [out_channels, in_channels, kernel] and `name`.bias [out_channels].
  Conv1d(checkpoint::WeightLoader& loader, const std::string& name, const Shape& shape);

  /// Inputs that later outputs need.
  struct State {
    explicit State(const Conv1d& conv);
    Rows inputs;
    bool started = false;
  };

  /// Outputs that `num_rows` more inputs complete.
  size_t NumOutputs(const State& state, size_t num_rows) const;
  /// Takes x [streams, num_rows, in_channels] and writes y [streams, outputs, out_channels],
  /// outputs = NumOutputs(state, num_rows), the same for all; `accumulate` adds to y.
  void Step(Streams<State> streams, const float* x, size_t num_rows, float* y, ConvScratch& scratch,
            ThreadPool& pool, bool accumulate = false) const;

  /// Outputs that the end of the signal completes, 0 or 1: HF pads so that L inputs give
  /// ceil(L / stride) outputs.
  size_t NumFinalOutputs(const State& state) const;
  /// Writes y [NumFinalOutputs(state), out_channels].
  void Finish(State& state, float* y, ConvScratch& scratch, ThreadPool& pool) const;

  const Shape& shape() const { return shape_; }

 private:
  size_t extent() const { return (shape_.kernel - 1) * shape_.dilation + 1; }
  size_t left_padding() const { return extent() - shape_.stride; }
  void Store(State& state, const float* x, size_t num_rows, ThreadPool& pool) const;
  void Compute(Streams<State> streams, float* y, bool accumulate, ConvScratch& scratch,
               ThreadPool& pool) const;

  Shape shape_;
  kernels::PackedMatrix weight_;  ///< [out_channels, kernel * in_channels]
  std::vector<float> bias_;
};

/// Transposed convolution without look-ahead: input t gives outputs t * stride to
/// t * stride + stride - 1, from itself and the inputs before it. HF's MimiConvTranspose1d with
/// use_causal_conv and trim_right_ratio 1.
class ConvTranspose1d {
 public:
  struct Shape {
    size_t in_channels = 0;
    size_t out_channels = 0;
    size_t kernel = 1;  ///< >= stride
    size_t stride = 1;
    size_t groups = 1;
    bool bias = true;
    bool elu = false;
  };

  /// Reads `name`.weight [in_channels, out_channels / groups, kernel] and `name`.bias.
  ConvTranspose1d(checkpoint::WeightLoader& loader, const std::string& name, const Shape& shape);

  struct State {
    explicit State(const ConvTranspose1d& conv);
    Rows inputs;  ///< the last taps - 1, zeros at first
  };

  /// Takes x [streams, num_rows, in_channels] and writes y [streams, num_rows * stride,
  /// out_channels].
  void Step(Streams<State> streams, const float* x, size_t num_rows, float* y, ConvScratch& scratch,
            ThreadPool& pool) const;

  const Shape& shape() const { return shape_; }

 private:
  size_t taps() const { return (shape_.kernel + shape_.stride - 1) / shape_.stride; }
  bool depthwise() const {
    return shape_.groups == shape_.in_channels && shape_.in_channels == shape_.out_channels;
  }
  std::array<int64_t, 3> StoredShape() const;
  /// Of which stored weight an element of weight_ (or depthwise_) is made: see WeightLoader.
  size_t Source(size_t row, size_t column) const;
  void ReadDepthwise(checkpoint::WeightLoader& loader, const std::string& name);
  /// Returns the end of what it wrote.
  float* StepDepthwise(const Rows& inputs, size_t num_rows, float* y) const;

  Shape shape_;
  /// [stride * out_channels, taps * in_channels], the oldest tap first; or, if depthwise,
  /// depthwise_ [stride, taps, channels]: a dense matrix would be channels times as large.
  kernels::PackedMatrix weight_;
  std::vector<float> depthwise_;
  std::vector<float> bias_;  ///< [stride, out_channels], or empty
};

}  // namespace csm::mimi

#endif  // CSM_MIMI_CONV_H_

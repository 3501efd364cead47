#include "mimi/conv.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>

#include "kernels/elementwise.h"
#include "kernels/matmul.h"

namespace csm::mimi {
namespace {

// Copies x [num_rows, channels] to y, through the ELU in front of the layer if it has one.
void Copy(const float* x, size_t num_rows, size_t channels, bool elu, float* y, ThreadPool& pool) {
  ForRowBlocks(num_rows, channels, pool, [&](size_t first, size_t count) {
    const size_t begin = first * channels;
    if (elu) {
      kernels::Elu(x + begin, y + begin, count * channels);
    } else {
      std::copy_n(x + begin, count * channels, y + begin);
    }
  });
}

std::array<int64_t, 3> TensorShape(size_t a, size_t b, size_t c) {
  return {static_cast<int64_t>(a), static_cast<int64_t>(b), static_cast<int64_t>(c)};
}

std::vector<float> ReadBias(checkpoint::WeightLoader& loader, const std::string& name, size_t n) {
  const std::array<int64_t, 1> shape = {static_cast<int64_t>(n)};
  return loader.Floats(name + ".bias", shape);
}

}  // namespace

Conv1d::Conv1d(checkpoint::WeightLoader& loader, const std::string& name, const Shape& shape)
    : shape_(shape) {
  const auto [in, out, kernel] = std::array{shape.in_channels, shape.out_channels, shape.kernel};
  assert(extent() >= shape.stride && (shape.stride == 1 || shape.dilation == 1));
  weight_ = loader.Rearranged(name + ".weight", TensorShape(out, in, kernel), out, kernel * in,
                              [in = in, kernel = kernel](size_t o, std::span<size_t> sources) {
                                for (size_t c = 0; c < sources.size(); ++c) {
                                  sources[c] = (o * in + c % in) * kernel + c / in;
                                }
                              });
  if (shape.bias) bias_ = ReadBias(loader, name, out);
}

Conv1d::State::State(const Conv1d& conv)
    : inputs(conv.shape_.in_channels), gathered(conv.shape_.kernel * conv.shape_.in_channels) {}

size_t Conv1d::NumOutputs(const State& state, size_t num_rows) const {
  if (num_rows == 0) return 0;
  const size_t stored = (state.started ? state.inputs.size() : left_padding()) + num_rows;
  return stored < extent() ? 0 : (stored - extent()) / shape_.stride + 1;
}

void Conv1d::Store(State& state, const float* x, size_t num_rows, ThreadPool& pool) const {
  const size_t channels = shape_.in_channels;
  const size_t padding = state.started ? 0 : left_padding();
  float* to = state.inputs.Append(padding + num_rows);
  float* stored = to + padding * channels;
  Copy(x, num_rows, channels, shape_.elu, stored, pool);
  for (size_t i = 0; i < padding; ++i) {
    if (shape_.padding == Padding::kReplicate) {
      std::copy_n(stored, channels, to + i * channels);
    } else {
      std::fill_n(to + i * channels, channels, 0.0f);
    }
  }
  state.started = true;
}

void Conv1d::Compute(State& state, float* y, bool accumulate, ThreadPool& pool) const {
  const size_t channels = shape_.in_channels;
  if (state.inputs.size() < extent()) return;
  const size_t num_outputs = (state.inputs.size() - extent()) / shape_.stride + 1;
  kernels::RowsView windows{state.inputs.data(), num_outputs, shape_.stride * channels};
  if (shape_.dilation > 1) {
    state.gathered.Clear();
    float* to = state.gathered.Append(num_outputs);
    for (size_t t = 0; t < num_outputs; ++t) {
      for (size_t k = 0; k < shape_.kernel; ++k) {
        to = std::copy_n(state.inputs.row(t + k * shape_.dilation), channels, to);
      }
    }
    windows = {state.gathered.data(), num_outputs, state.gathered.channels()};
  }
  const kernels::Product product{.weight = weight_,
                                 .bias = bias_.empty() ? nullptr : bias_.data(),
                                 .y = y,
                                 .y_stride = shape_.out_channels,
                                 .accumulate = accumulate};
  kernels::MatMul(windows, product, pool);
  state.inputs.DropFront(num_outputs * shape_.stride);
}

void Conv1d::Step(State& state, const float* x, size_t num_rows, float* y, ThreadPool& pool,
                  bool accumulate) const {
  if (num_rows == 0) return;
  Store(state, x, num_rows, pool);
  Compute(state, y, accumulate, pool);
}

size_t Conv1d::NumFinalOutputs(const State& state) const {
  return state.started && state.inputs.size() > left_padding() ? 1 : 0;
}

void Conv1d::Finish(State& state, float* y, ThreadPool& pool) const {
  if (NumFinalOutputs(state) == 0) return;
  const size_t channels = shape_.in_channels;
  const size_t missing = extent() - state.inputs.size();
  float* to = state.inputs.Append(missing);
  const float* row_before = to - channels;
  for (size_t i = 0; i < missing * channels; ++i) {
    to[i] = shape_.padding == Padding::kReplicate ? row_before[i] : 0.0f;
  }
  Compute(state, y, /*accumulate=*/false, pool);
}

ConvTranspose1d::ConvTranspose1d(checkpoint::WeightLoader& loader, const std::string& name,
                                 const Shape& shape)
    : shape_(shape) {
  assert(shape.kernel >= shape.stride);
  assert(shape.in_channels % shape.groups == 0 && shape.out_channels % shape.groups == 0);
  if (depthwise()) {
    ReadDepthwise(loader, name);
  } else {
    weight_ = loader.Rearranged(name + ".weight", StoredShape(), shape.stride * shape.out_channels,
                                taps() * shape.in_channels,
                                [this](size_t row, std::span<size_t> sources) {
                                  for (size_t c = 0; c < sources.size(); ++c)
                                    sources[c] = Source(row, c);
                                });
  }
  if (shape.bias) {
    const std::vector<float> bias = ReadBias(loader, name, shape.out_channels);
    for (size_t r = 0; r < shape.stride; ++r) bias_.insert(bias_.end(), bias.begin(), bias.end());
  }
}

std::array<int64_t, 3> ConvTranspose1d::StoredShape() const {
  return TensorShape(shape_.in_channels, shape_.out_channels / shape_.groups, shape_.kernel);
}

// Tap k of the kernel adds input t to output t * stride + k, that is to phase k % stride of the
// output made k / stride inputs later, where input t is the (k / stride)-th before the newest.
size_t ConvTranspose1d::Source(size_t row, size_t column) const {
  const size_t group_in = shape_.in_channels / shape_.groups;
  const size_t group_out = shape_.out_channels / shape_.groups;
  const size_t phase = row / shape_.out_channels, o = row % shape_.out_channels;
  const size_t delay = taps() - 1 - column / shape_.in_channels, i = column % shape_.in_channels;
  const size_t k = delay * shape_.stride + phase;
  if (k >= shape_.kernel || i / group_in != o / group_out) return checkpoint::WeightLoader::kZero;
  return (i * group_out + o % group_out) * shape_.kernel + k;
}

void ConvTranspose1d::ReadDepthwise(checkpoint::WeightLoader& loader, const std::string& name) {
  const std::vector<float> stored = loader.Floats(name + ".weight", StoredShape());
  const size_t channels = shape_.in_channels;
  for (size_t phase = 0; phase < shape_.stride; ++phase) {
    for (size_t tap = 0; tap < taps(); ++tap) {
      for (size_t c = 0; c < channels; ++c) {
        const size_t source = Source(phase * channels + c, tap * channels + c);
        const bool is_zero = source == checkpoint::WeightLoader::kZero;
        depthwise_.push_back(is_zero ? 0 : stored[source]);
      }
    }
  }
}

ConvTranspose1d::State::State(const ConvTranspose1d& conv) : inputs(conv.shape_.in_channels) {
  const size_t history = conv.taps() - 1;
  std::fill_n(inputs.Append(history), history * conv.shape_.in_channels, 0.0f);
}

void ConvTranspose1d::StepDepthwise(const Rows& inputs, size_t num_rows, float* y) const {
  const size_t channels = shape_.in_channels;
  const size_t num_taps = taps();
  for (size_t t = 0; t < num_rows; ++t) {
    for (size_t phase = 0; phase < shape_.stride; ++phase, y += channels) {
      if (bias_.empty()) {
        std::fill_n(y, channels, 0.0f);
      } else {
        std::copy_n(bias_.data(), channels, y);
      }
      for (size_t tap = 0; tap < num_taps; ++tap) {
        const float* x = inputs.row(t + tap);
        const float* w = depthwise_.data() + (phase * num_taps + tap) * channels;
        for (size_t c = 0; c < channels; ++c) y[c] += w[c] * x[c];
      }
    }
  }
}

void ConvTranspose1d::Step(State& state, const float* x, size_t num_rows, float* y,
                           ThreadPool& pool) const {
  if (num_rows == 0) return;
  Copy(x, num_rows, shape_.in_channels, shape_.elu, state.inputs.Append(num_rows), pool);
  if (depthwise()) {
    StepDepthwise(state.inputs, num_rows, y);
  } else {
    const kernels::Product product{.weight = weight_,
                                   .bias = bias_.empty() ? nullptr : bias_.data(),
                                   .y = y,
                                   .y_stride = weight_.rows};
    kernels::MatMul({state.inputs.data(), num_rows, shape_.in_channels}, product, pool);
  }
  state.inputs.DropFront(num_rows);
}

}  // namespace csm::mimi

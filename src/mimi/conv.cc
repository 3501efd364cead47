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
  const std::vector<float> stored = loader.Floats(name + ".weight", TensorShape(out, in, kernel));
  std::vector<float> weight(stored.size());
  for (size_t o = 0; o < out; ++o) {
    for (size_t i = 0; i < in; ++i) {
      for (size_t k = 0; k < kernel; ++k) {
        weight[(o * kernel + k) * in + i] = stored[(o * in + i) * kernel + k];
      }
    }
  }
  weight_ = loader.Adopt(weight, static_cast<int64_t>(out), static_cast<int64_t>(kernel * in),
                         loader.FloatType(name + ".weight"));
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
  const size_t group_in = shape.in_channels / shape.groups;
  const size_t group_out = shape.out_channels / shape.groups;
  const std::vector<float> stored =
      loader.Floats(name + ".weight", TensorShape(shape.in_channels, group_out, shape.kernel));
  // Tap k of the kernel adds input t to output t * stride + k, that is to phase k % stride of the
  // output made k / stride inputs later, where input t is the (k / stride)-th before the newest.
  const size_t columns = taps() * shape.in_channels;
  std::vector<float> dense(depthwise() ? 0 : shape.stride * shape.out_channels * columns);
  if (depthwise()) depthwise_.resize(shape.stride * columns);
  for (size_t o = 0; o < shape.out_channels; ++o) {
    const size_t first_in = o / group_out * group_in;
    for (size_t i = first_in; i < first_in + group_in; ++i) {
      const float* kernel = &stored[(i * group_out + o % group_out) * shape.kernel];
      for (size_t k = 0; k < shape.kernel; ++k) {
        const size_t phase = k % shape.stride;
        const size_t column = (taps() - 1 - k / shape.stride) * shape.in_channels + i;
        if (depthwise()) {
          depthwise_[phase * columns + column] = kernel[k];
        } else {
          dense[(phase * shape.out_channels + o) * columns + column] = kernel[k];
        }
      }
    }
  }
  if (!depthwise()) {
    weight_ = loader.Adopt(dense, static_cast<int64_t>(shape.stride * shape.out_channels),
                           static_cast<int64_t>(columns), loader.FloatType(name + ".weight"));
  }
  if (shape.bias) {
    const std::vector<float> bias = ReadBias(loader, name, shape.out_channels);
    for (size_t r = 0; r < shape.stride; ++r) bias_.insert(bias_.end(), bias.begin(), bias.end());
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

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

// The inputs of `count` outputs of each stream, that begin `stride` rows apart.
struct Windows {
  size_t count, kernel, stride, dilation;
};

// From here on a product for each stream is bound by its multiply-adds (16 a byte of f16 weights;
// the bend is near 8), and one for all of them would save nothing.
constexpr size_t kManyWindows = 32;

// Copies the windows of every stream to `to`.
template <typename State>
void Gather(Streams<State> streams, const Windows& windows, float* to) {
  for (const State* stream : streams) {
    const size_t channels = stream->inputs.channels();
    for (size_t t = 0; t < windows.count; ++t) {
      for (size_t k = 0; k < windows.kernel; ++k) {
        const size_t row = t * windows.stride + k * windows.dilation;
        to = std::copy_n(stream->inputs.row(row), channels, to);
      }
    }
  }
}

// Computes `product`, whose y is [streams, windows, outputs], of all windows.
template <typename State>
void Multiply(Streams<State> streams, const Windows& windows, kernels::Product product,
              ConvScratch& scratch, ThreadPool& pool) {
  const size_t channels = streams[0]->inputs.channels();
  const size_t cols = windows.kernel * channels;
  const bool are_few = streams.size() > 1 && windows.count < kManyWindows;
  if (windows.dilation > 1 || are_few) {
    const size_t num_rows = streams.size() * windows.count;
    float* gathered = Grow(scratch, num_rows * cols);
    Gather(streams, windows, gathered);
    return kernels::MatMul({gathered, num_rows, cols}, product, pool);
  }
  for (const State* stream : streams) {
    kernels::MatMul({stream->inputs.data(), windows.count, windows.stride * channels}, product,
                    pool);
    product.y += windows.count * product.y_stride;
  }
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

Conv1d::State::State(const Conv1d& conv) : inputs(conv.shape_.in_channels) {}

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

void Conv1d::Compute(Streams<State> streams, float* y, bool accumulate, ConvScratch& scratch,
                     ThreadPool& pool) const {
  const size_t num_stored = streams[0]->inputs.size();
  if (num_stored < extent()) return;
  const size_t num_outputs = (num_stored - extent()) / shape_.stride + 1;
  Multiply(streams, {num_outputs, shape_.kernel, shape_.stride, shape_.dilation},
           {.weight = weight_,
            .bias = bias_.empty() ? nullptr : bias_.data(),
            .y = y,
            .y_stride = shape_.out_channels,
            .accumulate = accumulate},
           scratch, pool);
  for (State* stream : streams) stream->inputs.DropFront(num_outputs * shape_.stride);
}

void Conv1d::Step(Streams<State> streams, const float* x, size_t num_rows, float* y,
                  ConvScratch& scratch, ThreadPool& pool, bool accumulate) const {
  if (num_rows == 0 || streams.empty()) return;
  for (State* stream : streams) {
    Store(*stream, x, num_rows, pool);
    x += num_rows * shape_.in_channels;
    assert(stream->inputs.size() == streams[0]->inputs.size());
  }
  Compute(streams, y, accumulate, scratch, pool);
}

size_t Conv1d::NumFinalOutputs(const State& state) const {
  return state.started && state.inputs.size() > left_padding() ? 1 : 0;
}

void Conv1d::Finish(State& state, float* y, ConvScratch& scratch, ThreadPool& pool) const {
  if (NumFinalOutputs(state) == 0) return;
  const size_t channels = shape_.in_channels;
  const size_t missing = extent() - state.inputs.size();
  float* to = state.inputs.Append(missing);
  const float* row_before = to - channels;
  for (size_t i = 0; i < missing * channels; ++i) {
    to[i] = shape_.padding == Padding::kReplicate ? row_before[i] : 0.0f;
  }
  Compute(Only(state), y, /*accumulate=*/false, scratch, pool);
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

float* ConvTranspose1d::StepDepthwise(const Rows& inputs, size_t num_rows, float* y) const {
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
  return y;
}

void ConvTranspose1d::Step(Streams<State> streams, const float* x, size_t num_rows, float* y,
                           ConvScratch& scratch, ThreadPool& pool) const {
  if (num_rows == 0 || streams.empty()) return;
  for (State* stream : streams) {
    Copy(x, num_rows, shape_.in_channels, shape_.elu, stream->inputs.Append(num_rows), pool);
    x += num_rows * shape_.in_channels;
  }
  if (depthwise()) {
    for (const State* stream : streams) y = StepDepthwise(stream->inputs, num_rows, y);
  } else {
    Multiply(streams, {num_rows, taps(), /*stride=*/1, /*dilation=*/1},
             {.weight = weight_,
              .bias = bias_.empty() ? nullptr : bias_.data(),
              .y = y,
              .y_stride = weight_.rows},
             scratch, pool);
  }
  for (State* stream : streams) stream->inputs.DropFront(num_rows);
}

}  // namespace csm::mimi

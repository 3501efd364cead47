#include "mimi/seanet.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/error.h"

namespace csm::mimi {
namespace {

size_t PieceRows(size_t channels, size_t piece_floats = kPieceFloats) {
  return std::max<size_t>(1, piece_floats / channels);
}

// HF numbers the layers of a SEANet end through, activations included: the first convolution, then
// per ratio the residual blocks, an ELU and a strided convolution in some order, then an ELU and
// the last convolution.
struct LayerNames {
  std::string prefix;
  size_t layers_per_stage;

  LayerNames(std::string name_prefix, const MimiConfig& config)
      : prefix(std::move(name_prefix)), layers_per_stage(Size(config.num_residual_layers) + 2) {}

  std::string Layer(size_t i) const { return fmt::format("{}layers.{}", prefix, i); }
  std::string First() const { return Layer(0) + ".conv"; }
  std::string InStage(size_t stage, size_t i) const {
    return Layer(1 + stage * layers_per_stage + i);
  }
  std::string Last(size_t num_stages) const { return InStage(num_stages, 1) + ".conv"; }
};

// HF's dilation of residual block j: dilation_growth_rate ** j.
size_t Dilation(const MimiConfig& config, size_t j) {
  size_t dilation = 1;
  for (size_t i = 0; i < j; ++i) dilation *= Size(config.dilation_growth_rate);
  return dilation;
}

Padding PaddingOf(const MimiConfig& config) {
  return config.pad_mode == "replicate" ? Padding::kReplicate : Padding::kZeros;
}

std::vector<ResnetBlock> Blocks(checkpoint::WeightLoader& loader, const LayerNames& names,
                                const MimiConfig& config, size_t stage, size_t first,
                                size_t channels) {
  std::vector<ResnetBlock> blocks;
  for (size_t j = 0; j < Size(config.num_residual_layers); ++j) {
    blocks.emplace_back(loader, names.InStage(stage, first + j), config, channels,
                        Dilation(config, j));
  }
  return blocks;
}

Conv1d::Shape ResidualShape(const MimiConfig& config, size_t channels, size_t dilation) {
  return {.in_channels = channels,
          .out_channels = channels / Size(config.compress),
          .kernel = Size(config.residual_kernel_size),
          .dilation = dilation,
          .elu = true,
          .padding = PaddingOf(config)};
}

std::vector<ResnetBlock::State> StatesOf(const std::vector<ResnetBlock>& blocks) {
  return {blocks.begin(), blocks.end()};
}

}  // namespace

ResnetBlock::ResnetBlock(checkpoint::WeightLoader& loader, const std::string& name,
                         const MimiConfig& config, size_t channels, size_t dilation)
    : squeeze_(loader, name + ".block.1.conv", ResidualShape(config, channels, dilation)),
      expand_(loader, name + ".block.3.conv",
              {.in_channels = channels / Size(config.compress),
               .out_channels = channels,
               .elu = true}) {
  if (config.use_conv_shortcut) {
    shortcut_.emplace(loader, name + ".shortcut.conv",
                      Conv1d::Shape{.in_channels = channels, .out_channels = channels});
  }
}

ResnetBlock::State::State(const ResnetBlock& block)
    : squeeze(block.squeeze_), expand(block.expand_) {
  if (block.shortcut_) shortcut.emplace(*block.shortcut_);
}

void ResnetBlock::Step(Streams<State> streams, float* x, size_t num_rows, Scratch& scratch,
                       ThreadPool& pool) const {
  const size_t all_rows = streams.size() * num_rows;
  float* hidden = Grow(scratch.hidden, all_rows * squeeze_.shape().out_channels);
  const auto squeeze = PartsOf(
      streams, [](State & s) -> auto& { return s.squeeze; });
  squeeze_.Step(squeeze, x, num_rows, hidden, scratch.windows, pool);
  if (shortcut_) {
    const size_t size = all_rows * shortcut_->shape().out_channels;
    float* residual = Grow(scratch.residual, size);
    const auto shortcut = PartsOf(
        streams, [](State & s) -> auto& { return *s.shortcut; });
    shortcut_->Step(shortcut, x, num_rows, residual, scratch.windows, pool);
    std::copy_n(residual, size, x);
  }
  const auto expand = PartsOf(
      streams, [](State & s) -> auto& { return s.expand; });
  expand_.Step(expand, hidden, num_rows, x, scratch.windows, pool, /*accumulate=*/true);
}

SeanetEncoder::SeanetEncoder(checkpoint::WeightLoader& loader, const std::string& prefix,
                             const MimiConfig& config)
    : first_(loader, LayerNames(prefix, config).First(),
             {.in_channels = Size(config.audio_channels),
              .out_channels = Size(config.num_filters),
              .kernel = Size(config.kernel_size),
              .padding = PaddingOf(config)}),
      last_(loader, LayerNames(prefix, config).Last(config.upsampling_ratios.size()),
            {.in_channels = Size(config.num_filters) << config.upsampling_ratios.size(),
             .out_channels = Size(config.hidden_size),
             .kernel = Size(config.last_kernel_size),
             .elu = true,
             .padding = PaddingOf(config)}) {
  const LayerNames names(prefix, config);
  const size_t num_blocks = Size(config.num_residual_layers);
  size_t channels = Size(config.num_filters);
  for (size_t i = 0; i < config.upsampling_ratios.size(); ++i, channels *= 2) {
    const size_t ratio = Size(*(config.upsampling_ratios.rbegin() + static_cast<ptrdiff_t>(i)));
    stages_.push_back({Blocks(loader, names, config, i, 0, channels),
                       Conv1d(loader, names.InStage(i, num_blocks + 1) + ".conv",
                              {.in_channels = channels,
                               .out_channels = 2 * channels,
                               .kernel = 2 * ratio,
                               .stride = ratio,
                               .elu = true,
                               .padding = PaddingOf(config)})});
  }
}

SeanetEncoder::State::State(const SeanetEncoder& encoder)
    : first(encoder.first_), last(encoder.last_), piece(encoder.first_.shape().out_channels) {
  for (const SeanetEncoder::Stage& stage : encoder.stages_) {
    stages.push_back({StatesOf(stage.blocks), Conv1d::State(stage.downsample),
                      Rows(stage.downsample.shape().out_channels)});
  }
}

void SeanetEncoder::StepStage(const Stage& stage, State::Stage& state, float* x, size_t num_rows,
                              ResnetBlock::Scratch& scratch, ThreadPool& pool) const {
  for (size_t j = 0; j < stage.blocks.size(); ++j) {
    stage.blocks[j].Step(Only(state.blocks[j]), x, num_rows, scratch, pool);
  }
  const size_t num_outputs = stage.downsample.NumOutputs(state.downsample, num_rows);
  float* y = state.output.Append(num_outputs);
  stage.downsample.Step(Only(state.downsample), x, num_rows, y, scratch.windows, pool);
}

void SeanetEncoder::Step(State& state, const float* samples, size_t num_samples, bool is_end,
                         Rows& y, ThreadPool& pool) const {
  for (State::Stage& stage : state.stages) stage.output.Clear();
  // The first layer makes num_filters channels of one: its output is never held as a whole.
  const size_t piece_rows = PieceRows(state.piece.channels());
  for (size_t begin = 0; begin < num_samples; begin += piece_rows) {
    const size_t n = std::min(piece_rows, num_samples - begin);
    state.piece.Clear();
    float* x = state.piece.Append(n);
    first_.Step(Only(state.first), samples + begin, n, x, state.scratch.windows, pool);
    StepStage(stages_[0], state.stages[0], x, n, state.scratch, pool);
  }
  for (size_t i = 0; i < stages_.size(); ++i) {
    State::Stage& stage = state.stages[i];
    if (i > 0) {
      Rows& input = state.stages[i - 1].output;
      const size_t rows = PieceRows(input.channels());
      for (size_t begin = 0; begin < input.size(); begin += rows) {
        StepStage(stages_[i], stage, input.row(begin), std::min(rows, input.size() - begin),
                  state.scratch, pool);
      }
    }
    if (is_end) {
      const size_t num_final = stages_[i].downsample.NumFinalOutputs(stage.downsample);
      stages_[i].downsample.Finish(stage.downsample, stage.output.Append(num_final),
                                   state.scratch.windows, pool);
    }
  }
  const Rows& x = state.stages.back().output;
  last_.Step(Only(state.last), x.data(), x.size(), y.Append(last_.NumOutputs(state.last, x.size())),
             state.scratch.windows, pool);
}

SeanetDecoder::SeanetDecoder(checkpoint::WeightLoader& loader, const std::string& prefix,
                             const MimiConfig& config, size_t piece_floats)
    : piece_floats_(piece_floats),
      first_(loader, LayerNames(prefix, config).First(),
             {.in_channels = Size(config.hidden_size),
              .out_channels = Size(config.num_filters) << config.upsampling_ratios.size(),
              .kernel = Size(config.kernel_size),
              .padding = PaddingOf(config)}),
      last_(loader, LayerNames(prefix, config).Last(config.upsampling_ratios.size()),
            {.in_channels = Size(config.num_filters),
             .out_channels = Size(config.audio_channels),
             .kernel = Size(config.last_kernel_size),
             .elu = true,
             .padding = PaddingOf(config)}) {
  const LayerNames names(prefix, config);
  size_t channels = first_.shape().out_channels;
  for (size_t i = 0; i < config.upsampling_ratios.size(); ++i, channels /= 2) {
    const size_t ratio = Size(config.upsampling_ratios[i]);
    samples_per_row_ *= ratio;
    ConvTranspose1d upsample(loader, names.InStage(i, 1) + ".conv",
                             {.in_channels = channels,
                              .out_channels = channels / 2,
                              .kernel = 2 * ratio,
                              .stride = ratio,
                              .elu = true});
    stages_.push_back({std::move(upsample), Blocks(loader, names, config, i, 2, channels / 2)});
  }
}

SeanetDecoder::State::State(const SeanetDecoder& decoder)
    : first(decoder.first_), last(decoder.last_) {
  for (const SeanetDecoder::Stage& stage : decoder.stages_) {
    stages.push_back({ConvTranspose1d::State(stage.upsample), StatesOf(stage.blocks)});
  }
}

SeanetDecoder::Scratch::Scratch(const SeanetDecoder& decoder)
    : piece(decoder.last_.shape().in_channels) {
  for (const SeanetDecoder::Stage& stage : decoder.stages_) {
    inputs.emplace_back(stage.upsample.shape().in_channels);
  }
}

// y [streams, num_rows * the stage's ratio, channels / 2] of x [streams, num_rows, channels].
void SeanetDecoder::StepStage(size_t stage, Streams<State> streams, const float* x, size_t num_rows,
                              float* y, Scratch& scratch, ThreadPool& pool) const {
  const ConvTranspose1d& upsample = stages_[stage].upsample;
  const auto states = PartsOf(
      streams, [&](State & s) -> auto& { return s.stages[stage].upsample; });
  upsample.Step(states, x, num_rows, y, scratch.block.windows, pool);
  for (size_t j = 0; j < stages_[stage].blocks.size(); ++j) {
    const auto blocks = PartsOf(
        streams, [&](State & s) -> auto& { return s.stages[stage].blocks[j]; });
    stages_[stage].blocks[j].Step(blocks, y, num_rows * upsample.shape().stride, scratch.block,
                                  pool);
  }
}

void SeanetDecoder::Step(Streams<State> streams, const float* x, size_t num_rows, float* samples,
                         Scratch& scratch, ThreadPool& pool) const {
  if (num_rows == 0 || streams.empty()) return;
  for (Rows& input : scratch.inputs) input.Clear();
  const auto first = PartsOf(
      streams, [](State & s) -> auto& { return s.first; });
  first_.Step(first, x, num_rows, scratch.inputs[0].Append(streams.size() * num_rows),
              scratch.block.windows, pool);
  for (size_t i = 0; i < stages_.size(); ++i) {
    const bool is_last = i + 1 == stages_.size();
    Rows& input = scratch.inputs[i];
    Rows& output = is_last ? scratch.piece : scratch.inputs[i + 1];
    const size_t stream_rows = input.size() / streams.size();
    // A piece is some rows of a stream, or several streams' rows.
    const size_t most_rows = PieceRows(input.channels(), piece_floats_);
    const size_t piece_rows = std::min(most_rows, stream_rows);
    const size_t group = most_rows / piece_rows;
    for (size_t begin = 0; begin < streams.size() * stream_rows;) {
      const size_t s = begin / stream_rows;
      const Streams<State> some = streams.subspan(s, std::min(group, streams.size() - s));
      const size_t n = std::min(piece_rows, stream_rows - begin % stream_rows);
      const size_t num_outputs = n * stages_[i].upsample.shape().stride;
      if (is_last) output.Clear();  // handed to the last layer at once, never held as a whole
      float* y = output.Append(some.size() * num_outputs);
      StepStage(i, some, input.row(begin), n, y, scratch, pool);
      begin += some.size() * n;
      if (!is_last) continue;
      const auto last = PartsOf(
          some, [](State & state) -> auto& { return state.last; });
      last_.Step(last, y, num_outputs, samples, scratch.block.windows, pool);
      samples += some.size() * num_outputs;
    }
  }
}

}  // namespace csm::mimi

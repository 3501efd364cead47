// Mimi's layers by themselves, then its stages with made-up weights at the published sizes. Frames
// a call: 1 as a stream has it, 32 as a file has it.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <vector>

#include "base/runtime.h"
#include "bench_machine.h"
#include "checkpoint/synthetic_tensors.h"
#include "mimi/codec.h"
#include "mimi/test_weights.h"

namespace csm::mimi {
namespace {

using bench::TheMachine;
using bench::Values;

constexpr int64_t kFrames[] = {1, 32};

// A layer of random weights; `weight_shape` is as the layer's constructor reads it.
template <typename Layer>
Layer MakeLayer(const typename Layer::Shape& shape, std::vector<int64_t> weight_shape) {
  auto weights = std::make_shared<TestWeights>();
  weights->AddRandom("layer.weight", std::move(weight_shape));
  weights->AddRandom("layer.bias", {static_cast<int64_t>(shape.out_channels)});
  checkpoint::WeightLoader loader(weights);
  static std::vector<std::shared_ptr<const void>> memory;  // weights outlive their layers
  memory.push_back(loader.memory());
  return Layer(loader, "layer", shape);
}

// Arguments: frames a call, inputs a frame, channels in and out, kernel, stride, dilation.
void BM_Conv1d(benchmark::State& state) {
  Conv1d::Shape shape;
  shape.in_channels = static_cast<size_t>(state.range(2));
  shape.out_channels = static_cast<size_t>(state.range(3));
  shape.kernel = static_cast<size_t>(state.range(4));
  shape.stride = static_cast<size_t>(state.range(5));
  shape.dilation = static_cast<size_t>(state.range(6));
  shape.elu = shape.in_channels > 1;
  const auto conv = MakeLayer<Conv1d>(shape, {state.range(3), state.range(2), state.range(4)});
  const auto num_rows = static_cast<size_t>(state.range(0) * state.range(1));
  const size_t num_outputs = num_rows / shape.stride;
  const std::vector<float> x = Values(num_rows * shape.in_channels);
  std::vector<float> y((num_outputs + 1) * shape.out_channels);
  Conv1d::State stream(conv);
  ConvScratch scratch;
  for (auto _ : state) {
    conv.Step(Only(stream), x.data(), num_rows, y.data(), scratch, TheMachine().pool);
    benchmark::ClobberMemory();
  }
  const double weights = static_cast<double>(shape.in_channels * shape.out_channels * shape.kernel);
  bench::Report(state, weights * sizeof(float), weights * static_cast<double>(num_outputs));
}

void Conv1dShapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"frames", "inputs", "in", "out", "kernel", "stride", "dilation"});
  for (const int64_t frames : kFrames) {
    b->Args({frames, 1920, 1, 64, 7, 1, 1});   // the first, on samples
    b->Args({frames, 1920, 64, 32, 3, 1, 1});  // a residual block
    b->Args({frames, 1920, 64, 32, 3, 1, 2});  // one of a config with more of them
    b->Args({frames, 1920, 32, 64, 1, 1, 1});
    b->Args({frames, 1920, 64, 128, 8, 4, 1});  // downsampling
    b->Args({frames, 480, 128, 256, 10, 5, 1});
    b->Args({frames, 96, 256, 512, 12, 6, 1});
    b->Args({frames, 16, 512, 1024, 16, 8, 1});
    b->Args({frames, 2, 1024, 512, 3, 1, 1});
    b->Args({frames, 1920, 64, 1, 3, 1, 1});  // the last, to samples
  }
}
BENCHMARK(BM_Conv1d)->Apply(Conv1dShapes)->UseRealTime()->Unit(benchmark::kMicrosecond);

// Arguments: frames a call, inputs a frame, channels in and out, kernel, stride, groups.
void BM_ConvTranspose1d(benchmark::State& state) {
  ConvTranspose1d::Shape shape;
  shape.in_channels = static_cast<size_t>(state.range(2));
  shape.out_channels = static_cast<size_t>(state.range(3));
  shape.kernel = static_cast<size_t>(state.range(4));
  shape.stride = static_cast<size_t>(state.range(5));
  shape.groups = static_cast<size_t>(state.range(6));
  shape.elu = shape.groups == 1;
  const auto conv = MakeLayer<ConvTranspose1d>(
      shape, {state.range(2), state.range(3) / state.range(6), state.range(4)});
  const auto num_rows = static_cast<size_t>(state.range(0) * state.range(1));
  const std::vector<float> x = Values(num_rows * shape.in_channels);
  std::vector<float> y(num_rows * shape.stride * shape.out_channels);
  ConvTranspose1d::State stream(conv);
  ConvScratch scratch;
  for (auto _ : state) {
    conv.Step(Only(stream), x.data(), num_rows, y.data(), scratch, TheMachine().pool);
    benchmark::ClobberMemory();
  }
  const size_t inputs = shape.in_channels / shape.groups;  // that an output sees
  const auto weights = static_cast<double>(inputs * shape.out_channels * shape.kernel);
  bench::Report(state, weights * sizeof(float), weights * static_cast<double>(num_rows));
}

void ConvTranspose1dShapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"frames", "inputs", "in", "out", "kernel", "stride", "groups"});
  for (const int64_t frames : kFrames) {
    b->Args({frames, 1, 512, 512, 4, 2, 512});  // from frames to the transformer
    b->Args({frames, 2, 1024, 512, 16, 8, 1});
    b->Args({frames, 16, 512, 256, 12, 6, 1});
    b->Args({frames, 96, 256, 128, 10, 5, 1});
    b->Args({frames, 480, 128, 64, 8, 4, 1});
  }
}
BENCHMARK(BM_ConvTranspose1d)
    ->Apply(ConvTranspose1dShapes)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

/// The published codec; loaded when first asked for.
const MimiModel::Impl& TheCodec() {
  static const auto codec =
      LoadMimi(checkpoint::CodecOf(checkpoint::MakeSyntheticCheckpoint(CsmConfig())),
               Runtime(TheMachine().pool.num_threads()));
  return *codec;
}

// Calls step(frames) and reports the seconds of audio it gets through in a second.
template <typename Step>
void RunStage(benchmark::State& state, const Step& step) {
  const auto frames = static_cast<size_t>(state.range(0));
  for (auto _ : state) {
    step(frames);
    benchmark::ClobberMemory();
  }
  const double seconds = static_cast<double>(frames) / TheCodec().config.frame_rate;
  using benchmark::Counter;
  state.counters["audio_s_per_s"] =
      Counter(seconds * static_cast<double>(state.iterations()), Counter::kIsRate);
}

void Stage(benchmark::internal::Benchmark* b) {
  b->ArgName("frames")->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const int64_t frames : kFrames) b->Arg(frames);
}

constexpr size_t kRowsPerFrame = 2;  // of the transformers and SEANet: 25 a second
constexpr size_t kMostFrames = 32;

void BM_SeanetEncoder(benchmark::State& state) {
  const MimiModel::Impl& codec = TheCodec();
  const auto frame_size = static_cast<size_t>(codec.config.frame_size());
  const std::vector<float> samples = Values(kMostFrames * frame_size);
  SeanetEncoder::State stream(codec.encoder);
  Rows y(static_cast<size_t>(codec.config.hidden_size));
  RunStage(state, [&](size_t frames) {
    y.Clear();
    codec.encoder.Step(stream, samples.data(), frames * frame_size, false, y, TheMachine().pool);
  });
}
BENCHMARK(BM_SeanetEncoder)->Apply(Stage);

void BM_SeanetDecoder(benchmark::State& state) {
  const MimiModel::Impl& codec = TheCodec();
  const auto hidden = static_cast<size_t>(codec.config.hidden_size);
  const std::vector<float> x = Values(kMostFrames * kRowsPerFrame * hidden);
  std::vector<float> samples(kMostFrames * static_cast<size_t>(codec.config.frame_size()));
  SeanetDecoder::State stream(codec.decoder);
  SeanetDecoder::Scratch scratch(codec.decoder);
  RunStage(state, [&](size_t frames) {
    codec.decoder.Step(Only(stream), x.data(), frames * kRowsPerFrame, samples.data(), scratch,
                       TheMachine().pool);
  });
}
BENCHMARK(BM_SeanetDecoder)->Apply(Stage);

void BM_Transformer(benchmark::State& state) {
  const MimiModel::Impl& codec = TheCodec();
  const auto hidden = static_cast<size_t>(codec.config.hidden_size);
  const std::vector<float> input = Values(kMostFrames * kRowsPerFrame * hidden);
  std::vector<float> x(input.size());
  Transformer::State stream(codec.decoder_transformer);
  Transformer::Scratch scratch(codec.decoder_transformer);
  RunStage(state, [&](size_t frames) {
    std::copy(input.begin(), input.end(), x.begin());  // it is replaced
    codec.decoder_transformer.Step(Only(stream), x.data(), frames * kRowsPerFrame, scratch,
                                   TheMachine().pool);
  });
}
BENCHMARK(BM_Transformer)->Apply(Stage);

void BM_QuantizerEncode(benchmark::State& state) {
  const MimiModel::Impl& codec = TheCodec();
  const auto num_codebooks = static_cast<size_t>(codec.config.num_quantizers);
  const std::vector<float> latents =
      Values(kMostFrames * static_cast<size_t>(codec.config.hidden_size));
  std::vector<int32_t> codes(kMostFrames * num_codebooks);
  QuantizerScratch scratch;
  RunStage(state, [&](size_t frames) {
    codec.quantizer.Encode(latents.data(), frames, num_codebooks, codes.data(), scratch,
                           TheMachine().pool);
  });
}
BENCHMARK(BM_QuantizerEncode)->Apply(Stage);

void BM_QuantizerDecode(benchmark::State& state) {
  const MimiModel::Impl& codec = TheCodec();
  const auto num_codebooks = static_cast<size_t>(codec.config.num_quantizers);
  const std::vector<int32_t> codes(kMostFrames * num_codebooks, 7);
  std::vector<float> latents(kMostFrames * static_cast<size_t>(codec.config.hidden_size));
  QuantizerScratch scratch;
  RunStage(state, [&](size_t frames) {
    codec.quantizer.Decode(codes.data(), frames, num_codebooks, latents.data(), scratch,
                           TheMachine().pool);
  });
}
BENCHMARK(BM_QuantizerDecode)->Apply(Stage);

// A frame of each of several streams, as a batch is spoken.
void BM_DecodeTogether(benchmark::State& state) {
  const MimiModel::Impl& codec = TheCodec();
  const auto num_codebooks = static_cast<size_t>(codec.config.num_quantizers);
  std::vector<DecoderState> streams(static_cast<size_t>(state.range(0)), DecoderState(codec));
  std::vector<DecoderState*> active;
  for (DecoderState& stream : streams) active.push_back(&stream);
  const std::vector<int32_t> codes(streams.size() * num_codebooks, 7);
  std::vector<float> samples(streams.size() * static_cast<size_t>(codec.config.frame_size()));
  StreamDecoder decoder(codec);
  RunStage(state, [&](size_t) {
    decoder.Step(active, codes.data(), /*num_frames=*/1, num_codebooks, samples.data());
  });
}
BENCHMARK(BM_DecodeTogether)
    ->ArgName("streams")
    ->RangeMultiplier(2)
    ->Range(1, 16)
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace csm::mimi

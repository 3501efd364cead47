#include "engine/speed.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/clock.h"
#include "base/philox.h"
#include "engine/csm_model.h"
#include "kernels/packed.h"

namespace csm::engine {
namespace {

double Milliseconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<size_t>(share * static_cast<double>(values.size())))];
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Median milliseconds of several calls: as many as three seconds hold, since other programs slow
// some of them down, but at least two. The first is not counted unless it is so long that cold
// caches do not matter to it.
template <typename Call>
double TimeCall(const Call& call) {
  constexpr size_t kLeast = 2, kMost = 15;
  constexpr double kSeconds = 3;
  std::vector<double> times;
  const auto time = [&] {
    const auto start = Clock::now();
    call();
    times.push_back(Milliseconds(start, Clock::now()));
  };
  time();
  if (times[0] < 1000 * kSeconds) times.clear();
  const auto begin = Clock::now();
  while (times.size() < kLeast || (times.size() < kMost && SecondsSince(begin) < kSeconds)) time();
  return Median(std::move(times));
}

// Milliseconds from each of `ends` to the next, from number `first` on.
std::vector<double> Intervals(const std::vector<Clock::time_point>& ends, size_t first) {
  std::vector<double> intervals;
  for (size_t i = first + 1; i < ends.size(); ++i) {
    intervals.push_back(Milliseconds(ends[i - 1], ends[i]));
  }
  return intervals;
}

// Text ids at random: what a prompt holds does not matter to the time it takes.
CsmInputs RandomPrompts(const CsmConfig& config, int64_t rows, int64_t positions) {
  CsmInputs inputs;
  for (int64_t r = 0; r < rows; ++r) {
    CsmInputs::Row& row = inputs.rows.emplace_back();
    for (int64_t i = 0; i < positions; ++i) {
      const double uniform = UniformAt(1, static_cast<uint64_t>(r), static_cast<uint64_t>(i), 0);
      row.input_ids.push_back(
          static_cast<int32_t>(uniform * static_cast<double>(config.text_vocab_size)));
    }
  }
  return inputs;
}

GenerationConfig Greedy(int64_t num_frames) {
  GenerationConfig config;
  config.max_new_tokens = num_frames;
  config.output_audio = false;
  return config;
}

// A frame of end codes would stop a sequence early: codebook 0 never has one.
GenerateCallbacks NeverEnding(const CsmConfig& config) {
  GenerateCallbacks callbacks;
  const auto end = static_cast<size_t>(config.codebook_eos_token_id);
  callbacks.logits_processor = [end](int, int, int codebook, std::span<float> logits) {
    if (codebook == 0) logits[end] = -std::numeric_limits<float>::infinity();
  };
  return callbacks;
}

// Of matrices that are read once: multiply-adds of a row with them, and bytes.
struct Cost {
  double products = 0, bytes = 0;
};

// What a frame runs through.
struct Costs {
  Cost backbone, lm_head;
  Cost depth_pass;          // of the depth decoder, its projector included
  Cost heads;               // of codebooks 1.., all together
  double cached_bytes = 0;  // of a number in the cache
};

Cost StackCost(const LlamaConfig& config, double bytes_per_weight) {
  const int64_t heads = config.num_attention_heads + config.num_key_value_heads;
  const int64_t row = 2 * heads * config.head_dim + 3 * config.intermediate_size;
  const auto products = static_cast<double>(config.num_hidden_layers * config.hidden_size * row);
  return {products, products * bytes_per_weight};
}

Cost Sum(const Cost& a, const Cost& b) { return {a.products + b.products, a.bytes + b.bytes}; }

// On another device every matrix is of one type, and so are keys and values.
Costs CostsOnDevice(const CsmConfig& config, const DeviceModel& device) {
  const double size = device.dtype() == DType::kF32 ? 4 : 2;
  const auto matrix = [&](int64_t rows, int64_t cols) {
    const auto products = static_cast<double>(rows * cols);
    return Cost{products, products * size};
  };
  const CsmDepthDecoderConfig& depth = config.depth_decoder_config;
  return {.backbone = StackCost(config, size),
          .lm_head = matrix(config.vocab_size, config.hidden_size),
          .depth_pass =
              Sum(StackCost(depth, size), matrix(depth.hidden_size, depth.backbone_hidden_size)),
          .heads = matrix((config.num_codebooks - 1) * depth.vocab_size, depth.hidden_size),
          .cached_bytes = size};
}

Costs CostsOnKernels(const CsmForConditionalGeneration::Impl& model) {
  const auto stack = [](const model::LlamaStack& of) {
    const auto totals = of.totals();
    return Cost{static_cast<double>(totals.products), static_cast<double>(totals.bytes)};
  };
  const auto matrix = [](const kernels::PackedMatrix& of) {
    return Cost{static_cast<double>(of.rows * of.cols), static_cast<double>(kernels::BytesOf(of))};
  };
  const CsmBackboneModel::Impl& backbone = *model.backbone();
  const CsmDepthDecoderModel::Impl& depth = *model.depth_decoder();
  Costs costs{.backbone = stack(backbone.stack),
              .lm_head = matrix(backbone.lm_head.weight),
              .depth_pass = Sum(stack(depth.stack), matrix(depth.inputs_embeds_projector.weight)),
              .cached_bytes = sizeof(float)};
  for (const auto& head : depth.codebooks_head) costs.heads = Sum(costs.heads, matrix(head));
  return costs;
}

Costs CostsOf(const CsmForConditionalGeneration::Impl& model) {
  return model.device != nullptr ? CostsOnDevice(model.checkpoint.config, *model.device)
                                 : CostsOnKernels(model);
}

}  // namespace

Work FrameWork(const CsmForConditionalGeneration& model, int64_t batch, int64_t positions) {
  const CsmConfig& config = model.config();
  const Costs costs = CostsOf(model.impl());
  const Cost once = Sum(Sum(costs.backbone, costs.lm_head), costs.heads);
  const auto passes = static_cast<double>(config.num_codebooks - 1);
  const int64_t cached = batch * positions * config.num_hidden_layers * 2 *
                         config.num_key_value_heads * config.head_dim;
  // The first pass has two rows: the hidden state and code 0.
  return {(once.products + (passes + 1) * costs.depth_pass.products) * static_cast<double>(batch),
          once.bytes + passes * costs.depth_pass.bytes +
              static_cast<double>(cached) * costs.cached_bytes};
}

Work PrefillWork(const CsmForConditionalGeneration& model, int64_t positions) {
  const Cost backbone = CostsOf(model.impl()).backbone;
  return {backbone.products * static_cast<double>(positions), backbone.bytes};
}

FrameTimes TimeFrames(const CsmForConditionalGeneration& model, const FrameTest& test) {
  std::vector<Clock::time_point> ends;
  // A device chooses codes itself only if nobody wants to see logits; made-up weights do not end.
  GenerateCallbacks callbacks;
  if (model.impl().device == nullptr) callbacks = NeverEnding(model.config());
  callbacks.on_frame = [&](int sequence, std::span<const int32_t>) {
    if (sequence == test.batch - 1) ends.push_back(Clock::now());
  };
  callbacks.is_cancelled = [&] {
    return std::ssize(ends) >= test.least_frames && SecondsSince(ends.front()) > test.seconds;
  };
  const CsmInputs inputs = RandomPrompts(model.config(), test.batch, test.prompt);
  // On a device, what the first call makes (a recording of a frame) serves the next.
  if (model.impl().device != nullptr) {
    GenerateCallbacks warm_up;
    warm_up.on_audio = [](int, std::span<const float>) {};
    model.generate(inputs, Greedy(test.most_frames), warm_up);
  }
  FrameTimes times;
  const auto start = Clock::now();
  callbacks.on_audio = [&](int, std::span<const float>) {
    if (times.ttfa == 0) times.ttfa = Milliseconds(start, Clock::now());
  };
  const CsmGenerateOutput output = model.generate(inputs, Greedy(test.most_frames), callbacks);
  const std::vector<double> frames = Intervals(ends, 1);
  times.num_frames = std::ssize(frames);
  times.median = Median(frames);
  times.p95 = Quantile(frames, 0.95);
  const double ms_per_frame = 1000 / static_cast<double>(ends.size());
  times.heads = output.times.heads * ms_per_frame;
  times.codec = output.times.codec * ms_per_frame;
  times.depth_decoder = output.times.depth_decoder * ms_per_frame;
  times.backbone = output.times.backbone * ms_per_frame;  // one step less than frames
  return times;
}

double TimePrefill(const CsmForConditionalGeneration& model, int64_t positions) {
  if (model.impl().device != nullptr) {  // where a frame comes after it, which takes a position
    const int64_t most = model.config().max_position_embeddings - 1;
    const CsmInputs inputs = RandomPrompts(model.config(), 1, std::min(positions, most));
    double best = 0;
    for (int i = 0; i < 4; ++i) {
      const double seconds = model.generate(inputs, Greedy(1)).times.prefill;
      if (i == 0 || seconds < best) best = seconds;
    }
    return best;
  }
  const CsmInputs inputs = RandomPrompts(model.config(), 1, positions);
  const StackInput row{.input_ids = inputs.rows[0].input_ids};
  const CsmBackboneModel stack = model.backbone_model();
  return TimeCall([&] { stack.forward(row); }) / 1000;
}

CodecTimes TimeCodec(const MimiModel& codec, int num_codebooks, double seconds) {
  const MimiConfig& config = codec.config();
  const auto num_frames = static_cast<int>(std::ceil(seconds * config.frame_rate));
  Codes codes{num_codebooks, {}};
  for (int i = 0; i < num_frames * num_codebooks; ++i) {
    codes.data.push_back(static_cast<int32_t>(UniformAt(2, 0, static_cast<uint64_t>(i), 0) *
                                              static_cast<double>(config.codebook_size)));
  }
  std::vector<float> samples(static_cast<size_t>(num_frames * config.frame_size()));
  for (size_t i = 0; i < samples.size(); ++i) {
    samples[i] = static_cast<float>(UniformAt(3, 0, i, 0)) - 0.5F;
  }
  const double audio_ms = 1000.0 * num_frames / config.frame_rate;
  CodecTimes times;
  times.decode = TimeCall([&] { codec.decode(codes); }) / audio_ms;
  times.encode = TimeCall([&] { codec.encode(samples, num_codebooks); }) / audio_ms;
  times.decode_step = TimeCall([&] {
                        MimiModel::Decoder decoder(codec);
                        for (int t = 0; t < num_frames; ++t) {
                          const auto frame = codes.frame(t);
                          decoder.push({num_codebooks, {frame.begin(), frame.end()}});
                        }
                      }) /
                      audio_ms;
  return times;
}

}  // namespace csm::engine

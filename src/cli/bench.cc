// csm bench: how fast a model is on this machine, and how near that is to what the machine can do.
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/runtime.h"
#include "checkpoint/synthetic_tensors.h"
#include "cli/commands.h"
#include "cli/generation_monitor.h"
#include "cli/messages.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "engine/csm_model.h"
#include "engine/speed.h"
#include "kernels/machine.h"
#include "kernels/packed_matmul.h"

namespace csm::cli {
namespace {

constexpr const char* kFooter =
    R"(Without --model, weights are made up: their values do not matter to the time they take.

  csm bench --type q4 --quick
  csm bench --model model.gguf --json bench.json

limit_share compares with the time that reading bytes_per_frame from memory would take; it can pass
1, since what fits the last cache is read from there.)";

struct BenchOptions {
  ModelOptions model;
  std::string geometry;
  std::string type;
  std::string json;
  bool quick = false;
};

std::string TypeName(const std::string& type) { return type.empty() ? "as stored" : type; }

CsmForConditionalGeneration Load(const BenchOptions& options, const Runtime& runtime) {
  LoadOptions load{.runtime = runtime};
  if (!options.type.empty()) load.dtype = ParseDType(options.type);
  if (options.model.IsGiven()) {
    return CsmForConditionalGeneration::from_pretrained(options.model.Dir(), load);
  }
  if (!load.dtype) load.dtype = DType::kBF16;
  return engine::LoadModel(checkpoint::MakeSyntheticCheckpoint(CsmConfig()), load);  // csm-1b's
}

Json Batches(const CsmForConditionalGeneration& model) {
  Json json;
  for (const int64_t batch : {1, 2, 4, 8, 16}) {
    const double speed = engine::TimeBatch(model, batch, /*num_frames=*/batch > 4 ? 5 : 8);
    Say("{:>2} streams: {:.2f} s of audio a second", batch, speed);
    json[std::to_string(batch)] = {{"audio_s_per_s", speed}};
  }
  return json;
}

Json Prefills(const CsmForConditionalGeneration& model, double peak) {
  Json json;
  for (const int64_t positions : {100, 512, 2000}) {
    if (positions > model.config().max_position_embeddings) continue;
    const engine::PrefillTime time = engine::TimePrefill(model, positions);
    const double tokens_per_s = static_cast<double>(positions) / time.seconds;
    const double peak_share = time.mul_adds / time.seconds / peak;
    Say("prompt of {}: {:.0f} positions a second, {:.0f} % of the peak", positions, tokens_per_s,
        100 * peak_share);
    json[std::to_string(positions)] = {{"tokens_per_s", tokens_per_s}, {"peak_share", peak_share}};
  }
  return json;
}

Json CacheLengths(const CsmForConditionalGeneration& model) {
  Json json;
  constexpr int64_t kFrames = 6;
  for (const int64_t positions : {0, 512, 1024, 2000}) {
    if (positions + kFrames > model.config().max_position_embeddings) continue;
    const int64_t prompt = std::max<int64_t>(positions, 1);  // there is no empty one
    const double ms = engine::TimeFrames(model, prompt, kFrames, /*with_audio=*/false).median;
    Say("{:>4} positions in the cache: {:.1f} ms a frame", positions, ms);
    json[std::to_string(positions)] = ms;
  }
  return json;
}

Json Codec(const CsmForConditionalGeneration& model) {
  const engine::CodecTimes times = engine::TimeCodec(
      model.codec_model(), static_cast<int>(model.config().num_codebooks), /*seconds=*/5);
  Say("codec: decode {:.3f}, one frame a step {:.3f}, encode {:.3f} of real time", times.decode,
      times.decode_step, times.encode);
  return {{"decode_rtf", times.decode},
          {"decode_step_rtf", times.decode_step},
          {"encode_rtf", times.encode}};
}

bool IsQuantizedModel(const CsmForConditionalGeneration& model) {
  return kernels::IsQuantized(model.impl().backbone->lm_head.dtype);
}

int Run(const BenchOptions& options) {
  if (!options.geometry.empty() && options.geometry != "csm-1b") {
    throw UsageError(fmt::format("--geometry is {}; there is csm-1b", options.geometry));
  }
  if (!options.geometry.empty() && options.model.IsGiven()) {
    throw UsageError("--geometry and --model contradict: a model has its own");
  }
  CheckTextWritable(options.json);
  const Runtime runtime = options.model.Threads();
  ThreadPool& pool = runtime.impl()->pool;
  const auto model = Load(options, runtime);
  const std::string_view int8_kernel = kernels::PackedTargets().front().name;
  Say("{} threads, {}, quantized products by {}", runtime.num_threads(), kernels::InstructionSet(),
      int8_kernel);

  Json json;
  json["threads"] = runtime.num_threads();
  json["type"] = TypeName(options.type);
  json["instruction_set"] = kernels::InstructionSet();
  json["int8_kernel"] = int8_kernel;
  const int64_t positions = model.config().max_position_embeddings;
  const int64_t prompt = std::min<int64_t>(22, positions / 2);
  const int64_t frames = std::min<int64_t>(25, positions - prompt);
  if (frames < 3) {
    Fail<ArgumentError>("the model has {} positions; bench needs at least 6", positions);
  }
  const engine::FrameTimes frame = engine::TimeFrames(model, prompt, frames, /*with_audio=*/true);
  const int64_t peak_memory =
      PeakResidentBytes();  // before the gigabyte that bandwidth is read from
  const double bandwidth = kernels::MeasureReadBandwidth(pool);
  const int64_t bytes = engine::BytesPerFrame(model, prompt + frames / 2);
  const double frame_ms = 1000 / model.config().codec_config.frame_rate;
  const double limit_share = static_cast<double>(bytes) / bandwidth * 1e3 / frame.median;
  Say("frame: {:.1f} ms (RTF {:.2f}): backbone {:.1f}, depth decoder {:.1f}, heads {:.1f}; p95 "
      "{:.1f}",
      frame.median, frame.median / frame_ms, frame.backbone, frame.depth_decoder, frame.heads,
      frame.p95);
  Say("{:.2f} GB a frame, memory reads at {:.1f} GB/s: {:.0f} % of the limit",
      static_cast<double>(bytes) / 1e9, bandwidth / 1e9, 100 * limit_share);
  Say("first audio after {:.0f} ms; peak memory {:.0f} MB", frame.ttfa,
      static_cast<double>(peak_memory) / 1e6);
  json["frame_ms"] = {{"median", frame.median},
                      {"p95", frame.p95},
                      {"backbone", frame.backbone},
                      {"depth_decoder", frame.depth_decoder},
                      {"heads", frame.heads}};
  json["rtf"] = frame.median / frame_ms;
  json["bytes_per_frame"] = bytes;
  json["bandwidth_gb_s"] = bandwidth / 1e9;
  json["limit_share"] = limit_share;
  json["ttfa_ms"] = frame.ttfa;
  json["peak_memory_bytes"] = peak_memory;
  if (!options.quick) {
    const double int8_peak = IsQuantizedModel(model) ? kernels::MeasureInt8Rate(pool) : 0;
    const double peak = int8_peak > 0 ? int8_peak : kernels::MeasureMulAddRate(pool);
    json["peak_mul_adds_per_s"] = peak;
    json["batches"] = Batches(model);
    json["prefill"] = Prefills(model, peak);
    json["kv"] = CacheLengths(model);
    json["codec"] = Codec(model);
  }
  if (!options.json.empty()) WriteText(options.json, json.dump(2) + "\n");
  return kExitOk;
}

}  // namespace

void AddBench(CLI::App& app, Action& action) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Measure speed, and the share of the machine's");
  command->footer(kFooter);
  options->model.AddModelTo(*command)->description(
      "Checkpoint folder, GGUF file, or the name of a model in the Hugging\n"
      "Face cache (default: made-up weights)");
  command->add_option("--geometry", options->geometry, "Made-up weights of this size (default)")
      ->type_name("csm-1b");
  AddTypeTo(*command, "--type", options->type, {"f32", "f16", "bf16", "q8_0", "q4"},
            "Type of the matrices (default: bf16, or as stored)");
  options->model.AddThreadsTo(*command);
  command->add_flag("--quick", options->quick, "One stream only");
  command->add_option("--json", options->json, "JSON file for the figures (-: standard output)")
      ->type_name("FILE");
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

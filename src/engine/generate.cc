// CsmForConditionalGeneration::generate: prompts in, frames and audio out.
#include <algorithm>
#include <memory>
#include <optional>
#include <random>

#include "base/error.h"
#include "engine/audio_output.h"
#include "engine/cpu_stepper.h"
#include "engine/csm_model.h"
#include "engine/frame_stepper.h"
#include "engine/prompt.h"
#include "engine/voice.h"

namespace csm {
namespace engine {
namespace {

void CheckPositions(int64_t prompt, int64_t frames, int64_t limit) {
  if (frames <= limit - prompt) return;
  Fail<ArgumentError>(
      "a prompt of {} positions and {} frames are more than the model's {} positions "
      "(max_position_embeddings): shorten the context or lower max_new_tokens to {}",
      prompt, frames, limit, std::max<int64_t>(0, limit - prompt));
}

// How many rows before this one have the same prompt. It keys the random numbers: equal prompts of
// a batch are drawn differently, and a row's draw does not depend on its neighbours.
uint64_t EarlierTwins(const std::vector<Prompt>& prompts, size_t row) {
  const auto same = [&](const Prompt& other) {
    return other.row->input_ids == prompts[row].row->input_ids &&
           other.frames == prompts[row].frames;
  };
  return static_cast<uint64_t>(
      std::count_if(prompts.begin(), prompts.begin() + static_cast<std::ptrdiff_t>(row), same));
}

uint64_t RandomSeed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

/// The sequences of one call: every row num_return_sequences times, its prompt read once.
std::vector<Sequence> StartSequences(const std::vector<Prompt>& prompts,
                                     const GenerationConfig& config, int64_t max_frames,
                                     FrameStepper& stepper, int num_codebooks,
                                     const model::HiddenObserver& observer) {
  const int64_t copies = config.num_return_sequences;
  const bool is_static = config.cache_implementation == "static";
  std::vector<Sequence> sequences(prompts.size() * static_cast<size_t>(copies));
  std::vector<Sequence*> firsts;
  std::vector<const Matrix*> embeddings;
  for (size_t row = 0; row < prompts.size(); ++row) {
    const Prompt& prompt = prompts[row];
    firsts.push_back(&sequences[row * static_cast<size_t>(copies)]);
    KvCache& cache = firsts.back()->cache;
    if (is_static) cache = KvCache(std::ssize(prompt.row->input_ids) + max_frames);
    if (prompt.past != nullptr) cache.impl().Append(*prompt.past, prompt.embeddings.rows);
    embeddings.push_back(&prompt.embeddings);
  }
  stepper.Prefill(firsts, embeddings, observer);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const size_t row = i / static_cast<size_t>(copies), copy = i % static_cast<size_t>(copies);
    Sequence& sequence = sequences[i];
    if (copy > 0) stepper.Fork(*firsts[row], sequence);
    sequence.index = static_cast<int>(i);
    sequence.random_sequence = EarlierTwins(prompts, row) * static_cast<uint64_t>(copies) + copy;
    sequence.max_frames = max_frames;
    sequence.codes.num_codebooks = num_codebooks;
    // Half a MB: longer speech grows now and then.
    constexpr int64_t kFramesReserved = 4096;
    sequence.codes.data.reserve(
        static_cast<size_t>(std::min(max_frames, kFramesReserved) * num_codebooks));
  }
  return sequences;
}

// Frame by frame until every sequence has ended; ended ones stop costing at once.
void Speak(std::vector<Sequence>& sequences, FrameStepper& stepper, const StepOptions& options,
           AudioOutput& audio) {
  std::vector<Sequence*> active;
  for (Sequence& sequence : sequences) active.push_back(&sequence);
  for (;;) {
    if (options.callbacks.is_cancelled && options.callbacks.is_cancelled()) {
      for (Sequence* sequence : active) sequence->finish_reason = FinishReason::kCancelled;
      return;
    }
    stepper.NextFrame(active, options);
    for (const Sequence* sequence : active) {
      if (options.callbacks.on_frame) {
        options.callbacks.on_frame(sequence->index, LastFrame(*sequence));
      }
    }
    audio.Add(active);
    std::erase_if(active, [](const Sequence* s) { return s->finish_reason.has_value(); });
    if (active.empty()) return;
    stepper.Advance(active);
  }
}

Matrix ToMatrix(std::vector<float> values, int64_t cols) {
  Matrix result;
  result.rows = std::ssize(values) / cols;
  result.cols = cols;
  result.data = std::move(values);
  return result;
}

void ThrowIfCancelled(const GenerateCallbacks& callbacks) {
  if (callbacks.is_cancelled && callbacks.is_cancelled()) throw Cancelled();
}

/// Tells the caller how far the prompts are, and asks whether to go on.
model::HiddenObserver WatchPrompts(const std::vector<Prompt>& prompts, const LlamaConfig& config,
                                   const GenerateCallbacks& callbacks) {
  int64_t total = 0;
  for (const Prompt& prompt : prompts) total += prompt.embeddings.rows;
  return WatchPrefill(total, config, [&callbacks](int64_t positions, int64_t all) {
    ThrowIfCancelled(callbacks);
    if (callbacks.on_prefill) callbacks.on_prefill(positions, all);
  });
}

void CheckVoices(const CsmForConditionalGeneration::Impl& model, const CsmInputs& inputs) {
  const Voice* checked = nullptr;  // rows that share a voice stand side by side
  for (const CsmInputs::Row& row : inputs.rows) {
    if (row.voice && row.voice.get() != checked) CheckModel(row.voice->impl(), model);
    checked = row.voice.get();
  }
}

std::unique_ptr<FrameStepper> NewStepper(const CsmForConditionalGeneration::Impl& model,
                                         const std::vector<Prompt>& prompts,
                                         const StepOptions& options, int64_t max_frames) {
  if (model.device == nullptr) {
    return std::make_unique<CpuStepper>(*model.backbone(), *model.depth_decoder());
  }
  int64_t longest = 0;
  for (const Prompt& prompt : prompts) {
    longest = std::max(longest, std::ssize(prompt.row->input_ids));
  }
  return model.device->NewStepper({options.config, options.callbacks,
                                   std::ssize(prompts) * options.config.num_return_sequences,
                                   longest + max_frames});
}

CsmGenerateOutput Run(const CsmForConditionalGeneration::Impl& model, const CsmInputs& inputs,
                      const StepOptions& options, int64_t max_frames) {
  const CsmConfig& model_config = model.checkpoint.config;
  const GenerationConfig& config = options.config;
  CheckVoices(model, inputs);
  const std::vector<Prompt> prompts = ReadPrompts(
      inputs.rows, model.codec, *model.embeddings,
      [&](int64_t) { ThrowIfCancelled(options.callbacks); }, VoiceUse::kGoOn);
  AudioOutput audio(model, config, options.callbacks,
                    prompts.size() * static_cast<size_t>(config.num_return_sequences));
  const std::unique_ptr<FrameStepper> stepper = NewStepper(model, prompts, options, max_frames);
  std::vector<Sequence> sequences = StartSequences(
      prompts, config, max_frames, *stepper, static_cast<int>(model_config.num_codebooks),
      WatchPrompts(prompts, model_config, options.callbacks));
  Speak(sequences, *stepper, options, audio);

  CsmGenerateOutput output;
  output.seed = options.seed;
  output.times = stepper->times();
  output.audio = audio.Finish(sequences);
  output.times.codec = audio.seconds();
  for (Sequence& sequence : sequences) {
    output.sequences.push_back(std::move(sequence.codes));
    output.finish_reason.push_back(*sequence.finish_reason);
    if (config.output_scores) {
      output.scores.push_back(ToMatrix(std::move(sequence.scores), model_config.vocab_size));
    }
    if (config.output_logits) {
      output.logits.push_back(ToMatrix(std::move(sequence.logits), model_config.vocab_size));
    }
  }
  return output;
}

/// What is returned if the caller cancels before the first frame.
CsmGenerateOutput NothingSaid(const CsmForConditionalGeneration::Impl& model, size_t num_rows,
                              const GenerationConfig& config, uint64_t seed) {
  const size_t n = num_rows * static_cast<size_t>(config.num_return_sequences);
  const int64_t vocab_size = model.checkpoint.config.vocab_size;
  CsmGenerateOutput output;
  output.sequences.assign(n, {static_cast<int>(model.checkpoint.config.num_codebooks), {}});
  output.finish_reason.assign(n, FinishReason::kCancelled);
  if (config.output_audio) output.audio.resize(n);
  if (config.output_scores) output.scores.assign(n, Matrix(0, vocab_size));
  if (config.output_logits) output.logits.assign(n, Matrix(0, vocab_size));
  output.seed = seed;
  return output;
}

}  // namespace
}  // namespace engine

CsmGenerateOutput CsmForConditionalGeneration::generate(const CsmInputs& inputs) const {
  return generate(inputs, generation_config());
}

CsmGenerateOutput CsmForConditionalGeneration::generate(const CsmInputs& inputs,
                                                        const GenerationConfig& config,
                                                        const GenerateCallbacks& callbacks) const {
  const CsmConfig& model_config = impl_->checkpoint.config;
  config.validate();
  if (inputs.rows.empty()) Fail<ArgumentError>("generate() was given no rows");
  int64_t longest = 0;
  for (const auto& row : inputs.rows) longest = std::max(longest, std::ssize(row.input_ids));
  const int64_t max_frames = engine::MaxFrames(config, longest);
  engine::CheckPositions(longest, max_frames, model_config.max_position_embeddings);

  const uint64_t seed = config.seed ? *config.seed : engine::RandomSeed();
  try {
    return engine::Run(*impl_, inputs, {config, callbacks, seed}, max_frames);
  } catch (const engine::Cancelled&) {
    return engine::NothingSaid(*impl_, inputs.rows.size(), config, seed);
  }
}

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "";
}

}  // namespace csm

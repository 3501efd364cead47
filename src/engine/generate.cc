// CsmForConditionalGeneration::generate: prompts in, frames and audio out.
#include <algorithm>
#include <memory>
#include <random>

#include "base/error.h"
#include "engine/csm_model.h"
#include "engine/frame_stepper.h"
#include "engine/prompt.h"

namespace csm {
namespace engine {
namespace {

// HF: max_length 20 when nothing is set, of which the prompt takes no part.
constexpr int64_t kDefaultMaxNewTokens = 20;

/// One row of the batch, encoded.
struct Prompt {
  const CsmInputs::Row* row;
  Codes frames;
  Matrix embeddings;  ///< [positions, hidden_size]
};

std::vector<Prompt> ReadPrompts(const CsmForConditionalGeneration::Impl& model,
                                const CsmInputs& inputs) {
  std::vector<Prompt> prompts;
  for (const CsmInputs::Row& row : inputs.rows) {
    Codes frames = EncodeClips(row, model.codec, model.checkpoint.config);
    Matrix embeddings = EmbedPrompt(row, frames, *model.backbone);
    prompts.push_back({&row, std::move(frames), std::move(embeddings)});
  }
  return prompts;
}

// Frames per row. max_length counts the longest prompt of the batch, as HF's padded one does.
int64_t MaxFrames(const GenerationConfig& config, int64_t longest_prompt) {
  if (config.max_new_tokens) return *config.max_new_tokens;
  if (!config.max_length) return kDefaultMaxNewTokens;
  if (*config.max_length <= longest_prompt) {
    Fail<ArgumentError>(
        "max_length is {} but the prompt alone has {} positions; raise max_length "
        "or give max_new_tokens",
        *config.max_length, longest_prompt);
  }
  return *config.max_length - longest_prompt;
}

void CheckPositions(int64_t prompt, int64_t frames, int64_t limit) {
  if (prompt + frames <= limit) return;
  Fail<ArgumentError>(
      "a prompt of {} positions and {} frames make {}; the model has {} (max_position_embeddings): "
      "shorten the context or lower max_new_tokens to {}",
      prompt, frames, prompt + frames, limit, std::max<int64_t>(0, limit - prompt));
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

/// Turns the frames of each sequence into audio: at once if the caller listens, else at the end.
class AudioOutput {
 public:
  AudioOutput(const CsmForConditionalGeneration::Impl& model, const GenerationConfig& config,
              const GenerateCallbacks& callbacks, size_t num_sequences)
      : model_(model), config_(config), callbacks_(callbacks) {
    if (config.output_audio) audio_.resize(num_sequences);
    if (!callbacks.on_audio) return;
    for (size_t i = 0; i < num_sequences; ++i) decoders_.emplace_back(model.codec);
  }

  // HF cuts at the first frame whose codes are all codebook_eos_token_id; only an ending frame can
  // be one.
  bool IsSilentEnd(std::span<const int32_t> frame) const {
    return std::all_of(frame.begin(), frame.end(), [&](int32_t code) {
      return code == model_.checkpoint.config.codebook_eos_token_id;
    });
  }

  void Add(int sequence, std::span<const int32_t> frame) {
    if (!callbacks_.on_audio || IsSilentEnd(frame)) return;
    const Codes codes{static_cast<int>(frame.size()), {frame.begin(), frame.end()}};
    const std::vector<float> samples = decoders_[static_cast<size_t>(sequence)].push(codes);
    callbacks_.on_audio(sequence, samples);
    if (!config_.output_audio) return;
    auto& audio = audio_[static_cast<size_t>(sequence)];
    audio.insert(audio.end(), samples.begin(), samples.end());
  }

  std::vector<std::vector<float>> Finish(const std::vector<Codes>& sequences) {
    if (!callbacks_.on_audio) {
      for (size_t i = 0; i < audio_.size(); ++i) audio_[i] = DecodeWhole(sequences[i]);
    }
    return std::move(audio_);
  }

 private:
  std::vector<float> DecodeWhole(Codes codes) const {
    if (codes.num_frames() > 0 && IsSilentEnd(codes.frame(codes.num_frames() - 1))) {
      codes.data.resize(codes.data.size() - static_cast<size_t>(codes.num_codebooks));
    }
    return codes.num_frames() == 0 ? std::vector<float>() : model_.codec.decode(codes);
  }

  const CsmForConditionalGeneration::Impl& model_;
  const GenerationConfig& config_;
  const GenerateCallbacks& callbacks_;
  std::vector<MimiModel::Decoder> decoders_;
  std::vector<std::vector<float>> audio_;
};

/// The sequences of one call: every row num_return_sequences times, its prompt read once.
std::vector<Sequence> StartSequences(const std::vector<Prompt>& prompts, int64_t copies,
                                     int64_t max_frames, FrameStepper& stepper, int num_codebooks) {
  std::vector<Sequence> sequences(prompts.size() * static_cast<size_t>(copies));
  std::vector<Sequence*> firsts;
  std::vector<const Matrix*> embeddings;
  for (size_t row = 0; row < prompts.size(); ++row) {
    firsts.push_back(&sequences[row * static_cast<size_t>(copies)]);
    embeddings.push_back(&prompts[row].embeddings);
  }
  stepper.Prefill(firsts, embeddings);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const size_t row = i / static_cast<size_t>(copies), copy = i % static_cast<size_t>(copies);
    Sequence& sequence = sequences[i];
    if (copy > 0) {
      sequence.cache.impl() = firsts[row]->cache.impl();
      sequence.hidden = firsts[row]->hidden;
    }
    sequence.index = static_cast<int>(i);
    sequence.random_sequence = EarlierTwins(prompts, row) * static_cast<uint64_t>(copies) + copy;
    sequence.max_frames = max_frames;
    sequence.codes.num_codebooks = num_codebooks;
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
      const auto frame = sequence->codes.frame(sequence->codes.num_frames() - 1);
      if (options.callbacks.on_frame) options.callbacks.on_frame(sequence->index, frame);
      audio.Add(sequence->index, frame);
    }
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

  CsmGenerateOutput output;
  output.seed = config.seed ? *config.seed : engine::RandomSeed();
  const std::vector<engine::Prompt> prompts = engine::ReadPrompts(*impl_, inputs);
  engine::FrameStepper stepper(*impl_->backbone, *impl_->depth_decoder);
  std::vector<engine::Sequence> sequences =
      engine::StartSequences(prompts, config.num_return_sequences, max_frames, stepper,
                             static_cast<int>(model_config.num_codebooks));
  engine::AudioOutput audio(*impl_, config, callbacks, sequences.size());
  engine::Speak(sequences, stepper, {config, callbacks, output.seed}, audio);

  for (engine::Sequence& sequence : sequences) {
    output.sequences.push_back(std::move(sequence.codes));
    output.finish_reason.push_back(*sequence.finish_reason);
    if (config.output_scores) {
      output.scores.push_back(
          engine::ToMatrix(std::move(sequence.scores), model_config.vocab_size));
    }
    if (config.output_logits) {
      output.logits.push_back(
          engine::ToMatrix(std::move(sequence.logits), model_config.vocab_size));
    }
  }
  output.audio = audio.Finish(output.sequences);
  return output;
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

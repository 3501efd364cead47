#include "engine/prompt.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/voice.h"
#include "model/backbone.h"

namespace csm::engine {
namespace {

Codes EncodeClip(const Waveform& clip, const MimiModel& codec, const CsmConfig& config,
                 const EncodeObserver& observer) {
  if (clip.sampling_rate != config.codec_config.sampling_rate) {
    Fail<ArgumentError>("a clip has a sampling rate of {} Hz; the codec's is {} Hz",
                        clip.sampling_rate, config.codec_config.sampling_rate);
  }
  MimiModel::Encoder encoder(codec, static_cast<int>(config.num_codebooks));
  constexpr size_t kPiece = size_t{1} << 16;  // 2.7 s
  Codes codes;
  for (std::span<const float> rest = clip.samples; !rest.empty();) {
    if (observer) observer(codes.num_frames());
    const size_t count = std::min(kPiece, rest.size());
    codes.append(encoder.push(rest.first(count)));
    rest = rest.subspan(count);
  }
  codes.append(encoder.finish());
  return codes;
}

}  // namespace

Codes EncodeClips(const CsmInputs::Row& row, const MimiModel& codec, const CsmConfig& config,
                  const EncodeObserver& observer) {
  Codes result{.num_codebooks = static_cast<int>(config.num_codebooks)};
  for (const auto& clip : row.clips) {
    if (const Codes* codes = std::get_if<Codes>(&clip)) {
      model::CheckCodes(*codes, config.num_codebooks, config.vocab_size);
      result.append(*codes);
    } else {
      const int before = result.num_frames();
      result.append(EncodeClip(std::get<Waveform>(clip), codec, config, [&](int64_t frames) {
        if (observer) observer(before + frames);
      }));
    }
  }
  return result;
}

Matrix EmbedPrompt(const CsmInputs::Row& row, const Codes& frames,
                   const model::PromptEmbeddings& embeddings, int64_t first) {
  const CsmConfig& config = embeddings.config;
  const bool has_audio = !row.clips.empty();
  if (row.input_ids.empty()) Fail<ArgumentError>("a row of the batch has no input_ids");
  if (has_audio) {
    const auto placeholders =
        std::count(row.input_ids.begin(), row.input_ids.end(), config.audio_token_id);
    if (placeholders != frames.num_frames()) {
      Fail<ArgumentError>(
          "a row has {} audio placeholders (id {}) for {} frames of audio; it needs one per frame",
          placeholders, config.audio_token_id, frames.num_frames());
    }
  }
  const std::vector<int32_t> end_of_audio(static_cast<size_t>(config.num_codebooks),
                                          static_cast<int32_t>(config.codebook_eos_token_id));
  const std::span<const int32_t> ids = std::span(row.input_ids).subspan(static_cast<size_t>(first));
  Matrix result(std::ssize(ids), config.hidden_size);
  auto next_frame = static_cast<int>(
      std::count(row.input_ids.begin(), row.input_ids.begin() + first, config.audio_token_id));
  for (int64_t i = 0; i < result.rows; ++i) {
    const int32_t id = ids[static_cast<size_t>(i)];
    float* out = result.row(i).data();
    if (has_audio && id == config.audio_token_id) {
      embeddings.EmbedFrame(frames.frame(next_frame++), out);
    } else if (has_audio && id == config.audio_eos_token_id) {
      embeddings.EmbedFrame(end_of_audio, out);
    } else {
      embeddings.EmbedText(id, out);
    }
  }
  return result;
}

std::vector<Prompt> ReadPrompts(std::span<const CsmInputs::Row> rows, const MimiModel& codec,
                                const model::PromptEmbeddings& embeddings,
                                const EncodeObserver& observer, VoiceUse voice_use) {
  std::vector<Prompt> prompts;
  for (const CsmInputs::Row& row : rows) {
    Prompt prompt{&row, EncodeClips(row, codec, embeddings.config, observer)};
    if (row.voice && voice_use == VoiceUse::kGoOn) {
      CheckBeginning(row.voice->impl(), row, prompt.frames);
      prompt.past = &row.voice->impl().cache;
    }
    const int64_t first = prompt.past == nullptr ? 0 : prompt.past->length;
    prompt.embeddings = EmbedPrompt(row, prompt.frames, embeddings, first);
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

model::HiddenObserver WatchPrefill(int64_t total, const LlamaConfig& config,
                                   const std::function<void(int64_t, int64_t)>& report) {
  if (!report) return nullptr;
  return [=, num_layers = config.num_hidden_layers, width = config.hidden_size](
             int64_t layer, int64_t first_row, std::span<const float> rows) {
    const int64_t num_rows = std::ssize(rows) / width;
    report(first_row + num_rows * layer / num_layers, total);
  };
}

int64_t MaxFrames(const GenerationConfig& config, int64_t longest_prompt) {
  constexpr int64_t kDefault = 20;  // HF's max_length when nothing is set; no part of it is prompt
  if (config.max_new_tokens) return *config.max_new_tokens;
  if (!config.max_length) return kDefault;
  if (*config.max_length <= longest_prompt) {
    Fail<ArgumentError>(
        "max_length is {} but the prompt alone has {} positions; raise max_length "
        "or give max_new_tokens",
        *config.max_length, longest_prompt);
  }
  return *config.max_length - longest_prompt;
}

}  // namespace csm::engine

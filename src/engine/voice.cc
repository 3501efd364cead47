#include "engine/voice.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/error.h"
#include "checkpoint/safetensors_header.h"
#include "engine/csm_model.h"
#include "engine/prompt.h"
#include "text/clip.h"
#include "text/conversation.h"
#include "text/utf8.h"

namespace csm {
namespace engine {
namespace {

void CheckOptions(const CsmProcessor::Options& options) {
  if (!options.output_labels && !options.add_special_tokens) return;
  Fail<ArgumentError>(
      "output_labels and add_special_tokens have no place in a voice: labels go with whole "
      "conversations, and a conversation has its special tokens already");
}

void CheckTurns(const Conversation& conversation) {
  if (conversation.empty()) {
    Fail<ArgumentError>("the conversation has no turns; a voice needs one with audio at least");
  }
  const auto has_audio = [](const Message& message) {
    return std::any_of(message.content.begin(), message.content.end(),
                       [](const auto& item) { return std::holds_alternative<Audio>(item); });
  };
  if (std::none_of(conversation.begin(), conversation.end(), has_audio)) {
    Fail<ArgumentError>(
        "the conversation has no audio, which is what a voice is made of: give the speech of its "
        "turns");
  }
  if (!has_audio(conversation.back())) {
    Fail<ArgumentError>(
        "message {} is the last and has no audio: a voice ends with speech; a line to be spoken is "
        "for csm generate",
        conversation.size() - 1);
  }
}

/// The turns with the codes of their audio, which are one after the other in `codes`.
Conversation WithCodes(const VoiceContext& context, const Codes& codes, int64_t frame_size) {
  Conversation turns;
  size_t next_clip = 0;
  int next_frame = 0;
  for (const Message& message : context.conversation) {
    const text::Turn turn = text::ReadTurn(message);
    Message& copy = turns.emplace_back();
    copy.role = turn.role;
    // The tokenizer reads both alike, and JSON can hold this one.
    copy.content.emplace_back(Text{text::ReplaceInvalidUtf8(turn.text)});
    if (turn.audio == nullptr) continue;
    const auto num_frames =
        static_cast<int>(text::NumFrames(context.row.clips[next_clip++], frame_size));
    Codes part{codes.num_codebooks, {}};
    for (int t = 0; t < num_frames; ++t, ++next_frame) {
      const auto frame = codes.frame(next_frame);
      part.data.insert(part.data.end(), frame.begin(), frame.end());
    }
    copy.content.emplace_back(Audio{std::move(part)});
  }
  return turns;
}

VoiceInfo Describe(const CsmForConditionalGeneration::Impl& model, const VoiceContext& context,
                   const Codes& codes) {
  const ModelIdentity& identity = model.identity->Of(model);
  return {.model = identity.name,
          .dtype = identity.dtype,
          .precision = identity.precision,
          .fingerprint = identity.fingerprint,
          .num_positions = std::ssize(context.row.input_ids),
          .num_frames = codes.num_frames(),
          .audio_seconds = codes.num_frames() / model.checkpoint.config.codec_config.frame_rate};
}

/// Throws ArgumentError unless the processor makes the voice's ids of its turns: a tokenizer may
/// change, and parse_special changes ids. That the ids of turns one after the other are those of
/// the turns as one text follows from the template: each begins and ends with a special token.
void CheckTurnIds(const Voice::Impl& voice, const CsmProcessor& processor,
                  const CsmProcessor::Options& options) {
  std::string reason = options.parse_special ? "the ids differ, with parse_special on"
                                             : "the ids differ, with parse_special off";
  try {
    const CsmInputs own = processor.apply_chat_template(voice.conversation, options);
    if (own.rows[0].input_ids == voice.input_ids) return;
  } catch (const ArgumentError& error) {  // codes that this codec does not have
    reason = error.what();
  }
  Fail<ArgumentError>(
      "{} was made with the model {} ({}), and {} reads its turns otherwise ({}): make the voice "
      "again",
      voice.label, checkpoint::QuoteName(voice.info.model), voice.info.dtype,
      checkpoint::QuoteName(checkpoint::ModelName(processor.name_or_path())), reason);
}

}  // namespace

VoiceContext ReadVoiceContext(const CsmProcessor& processor, const Conversation& conversation,
                              const CsmProcessor::Options& options, const CsmConfig& config) {
  CheckOptions(options);
  CheckTurns(conversation);
  CsmInputs inputs = processor.apply_chat_template(conversation, options);
  const int64_t positions = std::ssize(inputs.rows[0].input_ids);
  if (positions >= config.max_position_embeddings) {
    Fail<ArgumentError>(
        "the conversation has {} positions and leaves no room for speech, since the model has {} "
        "(max_position_embeddings): give fewer or shorter turns",
        positions, config.max_position_embeddings);
  }
  return {conversation, std::move(inputs.rows[0])};
}

Voice MakeVoice(const CsmForConditionalGeneration& model, const VoiceContext& context,
                const VoiceCallbacks& callbacks) {
  const CsmForConditionalGeneration::Impl& impl = model.impl();
  const CsmConfig& config = impl.checkpoint.config;
  const int64_t num_frames =
      std::count(context.row.input_ids.begin(), context.row.input_ids.end(), config.audio_token_id);
  std::vector<Prompt> prompts =
      ReadPrompts({&context.row, 1}, impl.codec, *impl.embeddings, [&](int64_t frames) {
        if (callbacks.on_encode) callbacks.on_encode(frames, num_frames);
      });
  Prompt& prompt = prompts.front();

  auto voice = std::make_shared<Voice::Impl>();
  voice->label = "the voice";
  voice->info = Describe(impl, context, prompt.frames);
  voice->conversation = WithCodes(context, prompt.frames, config.codec_config.frame_size());
  voice->input_ids = context.row.input_ids;
  voice->codes = std::move(prompt.frames);
  const model::Segment segment{&voice->cache, prompt.embeddings.rows};
  model::Scratch scratch;
  impl.backbone()->stack.Forward(
      {&segment, 1}, prompt.embeddings.data, scratch, impl.backbone()->runtime.impl()->pool,
      WatchPrefill(prompt.embeddings.rows, config, callbacks.on_prefill));
  return Voice(std::move(voice));
}

void CheckModel(const Voice::Impl& voice, const CsmForConditionalGeneration::Impl& model) {
  const VoiceInfo& made_with = voice.info;
  const ModelIdentity& given = model.identity->Of(model);
  if (made_with.fingerprint != given.fingerprint) {
    const bool has_same_name = made_with.model == given.name && made_with.dtype == given.dtype;
    Fail<ArgumentError>(
        "{} was made with the model {} ({}), and this is {} ({}){}: make the voice again with it",
        voice.label, checkpoint::QuoteName(made_with.model), made_with.dtype,
        checkpoint::QuoteName(given.name), given.dtype,
        has_same_name ? ", whose weights or settings are others" : "");
  }
  const CsmConfig& config = model.checkpoint.config;
  const int64_t width = config.num_key_value_heads * config.head_dim;
  if (voice.cache.num_layers != config.num_hidden_layers || voice.cache.width != width) {
    Fail<FormatError>("{} has keys of {} layers of width {}; its model {} has {} of width {}",
                      voice.label, voice.cache.num_layers, voice.cache.width,
                      checkpoint::QuoteName(given.name), config.num_hidden_layers, width);
  }
}

void CheckBeginning(const Voice::Impl& voice, const CsmInputs::Row& row, const Codes& frames) {
  const auto begins_with = [](const auto& whole, const auto& part) {
    return whole.size() >= part.size() && std::equal(part.begin(), part.end(), whole.begin());
  };
  if (!begins_with(row.input_ids, voice.input_ids) || !begins_with(frames.data, voice.codes.data)) {
    Fail<ArgumentError>(
        "a row of the batch does not begin with the ids and codes of {}, which it names as its "
        "beginning: Voice::apply_chat_template makes rows that do",
        voice.label);
  }
  if (row.input_ids.size() == voice.input_ids.size()) {
    Fail<ArgumentError>("a row of the batch has nothing after {}: add the line to be spoken",
                        voice.label);
  }
}

}  // namespace engine

Voice Voice::create(const CsmForConditionalGeneration& model, const CsmProcessor& processor,
                    const Conversation& conversation, const CsmProcessor::Options& options,
                    const VoiceCallbacks& callbacks) {
  return engine::MakeVoice(
      model, engine::ReadVoiceContext(processor, conversation, options, model.config()), callbacks);
}

const VoiceInfo& Voice::info() const { return impl_->info; }

const Conversation& Voice::conversation() const { return impl_->conversation; }

CsmInputs Voice::apply_chat_template(const CsmProcessor& processor,
                                     std::span<const Conversation> batch,
                                     const CsmProcessor::Options& options) const {
  engine::CheckOptions(options);
  engine::CheckTurnIds(*impl_, processor, options);
  CsmInputs inputs = processor.apply_chat_template(batch, options);
  const auto self = std::make_shared<const Voice>(*this);
  for (CsmInputs::Row& row : inputs.rows) {
    row.input_ids.insert(row.input_ids.begin(), impl_->input_ids.begin(), impl_->input_ids.end());
    row.clips.insert(row.clips.begin(), impl_->codes);
    row.voice = self;
  }
  return inputs;
}

}  // namespace csm

// CsmProcessor: text and conversations to ids, clips and labels.
#include <algorithm>
#include <cassert>

#include "audio/audio_file.h"
#include "audio/audio_writer.h"
#include "base/error.h"
#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"
#include "text/clip.h"
#include "text/conversation.h"
#include "text/labels.h"
#include "text/processor_files.h"

namespace csm {
namespace {

using text::PromptTokens;

/// Runs `make` and names `place` in any error it throws.
template <typename Function>
auto At(const std::string& place, const Function& make) {
  try {
    return make();
  } catch (const FileError& error) {
    Fail<FileError>("{}: {}", place, error.what());
  } catch (const FormatError& error) {
    Fail<FormatError>("{}: {}", place, error.what());
  } catch (const ArgumentError& error) {
    Fail<ArgumentError>("{}: {}", place, error.what());
  }
}

/// A row whose ids have one `<|AUDIO|>` for each clip, which becomes one for each of its frames.
CsmInputs::Row ExpandRow(const std::vector<int32_t>& ids, std::vector<text::Clip> clips,
                         int32_t audio_id, int64_t frame_size) {
  CsmInputs::Row row;
  size_t next_clip = 0;
  for (const int32_t id : ids) {
    size_t count = 1;
    if (id == audio_id) {
      assert(next_clip < clips.size());
      count = static_cast<size_t>(text::NumFrames(clips[next_clip++], frame_size));
    }
    row.input_ids.insert(row.input_ids.end(), count, id);
  }
  assert(next_clip == clips.size());
  row.clips = std::move(clips);
  return row;
}

[[noreturn]] void FailCount(std::string_view where, size_t num_placeholders, size_t num_clips) {
  Fail<ArgumentError>("{} {} <|AUDIO|> for {} clips of audio; each clip needs one", where,
                      num_placeholders, num_clips);
}

size_t CountId(const std::vector<int32_t>& ids, int32_t id) {
  return static_cast<size_t>(std::count(ids.begin(), ids.end(), id));
}

// Of each clip of a conversation, whether it is to be learnt.
std::vector<bool> LearntClips(const Conversation& conversation) {
  std::vector<bool> learnt;
  for (const Message& message : conversation) {
    if (text::ReadTurn(message).audio != nullptr) learnt.push_back(message.train);
  }
  return learnt;
}

}  // namespace

struct CsmProcessor::Impl {
  explicit Impl(text::ProcessorFiles processor_files) : files(std::move(processor_files)) {}

  CsmInputs MakeInputs() const {
    CsmInputs inputs;
    inputs.pad_token_id = files.tokens.pad;
    inputs.padding_side = files.padding_side;
    return inputs;
  }

  void Finish(const Options& options, std::span<const Conversation> batch,
              CsmInputs* inputs) const {
    if (!options.output_labels) return;
    std::vector<std::vector<bool>> learnt;
    for (const Conversation& conversation : batch) learnt.push_back(LearntClips(conversation));
    text::SetLabels(files.tokens, options.depth_decoder_labels_ratio, options.seed, learnt, inputs);
  }

  /// `<|begin_of_text|>[role]text<|end_of_text|>`, and `<|AUDIO|><|audio_eos|>` if it has audio.
  void AppendTurn(const text::Turn& turn, std::vector<int32_t>* ids) const {
    const PromptTokens& tokens = files.tokens;
    ids->push_back(tokens.begin_of_text);
    // Special tokens split a text before anything else does, so what stands between two of them
    // is encoded as it would be within the whole prompt.
    const std::string spoken = fmt::format("[{}]{}", turn.role, turn.text);
    const auto text_ids = files.tokenizer.encode(spoken, {.parse_special = false});
    ids->insert(ids->end(), text_ids.begin(), text_ids.end());
    ids->push_back(tokens.end_of_text);
    if (turn.audio == nullptr) return;
    ids->push_back(tokens.audio);
    ids->push_back(tokens.audio_eos);
  }

  /// As transformers does: the prompt is one text, in which the user's may write special tokens.
  std::vector<int32_t> EncodeRendered(const std::vector<text::Turn>& turns) const {
    std::string prompt;
    for (const text::Turn& turn : turns) {
      prompt += fmt::format("<|begin_of_text|>[{}]{}<|end_of_text|>", turn.role, turn.text);
      if (turn.audio != nullptr) prompt += "<|AUDIO|><|audio_eos|>";
    }
    return files.tokenizer.encode(prompt, {.parse_special = true});
  }

  CsmInputs::Row MakeRow(const Conversation& conversation, size_t index,
                         const Options& options) const {
    const std::string place = fmt::format("conversation {}", index);
    if (conversation.empty()) Fail<ArgumentError>("{} has no messages", place);
    std::vector<text::Turn> turns;
    std::vector<text::Clip> clips;
    std::vector<int32_t> ids;
    for (size_t m = 0; m < conversation.size(); ++m) {
      At(fmt::format("{}, message {}", place, m), [&] {
        turns.push_back(text::ReadTurn(conversation[m]));
        if (const Audio* audio = turns.back().audio) {
          clips.push_back(text::MakeClip(*audio, files.audio));
        }
      });
      if (!options.parse_special) AppendTurn(turns.back(), &ids);
    }
    if (options.parse_special) ids = EncodeRendered(turns);
    const size_t num_placeholders = CountId(ids, files.tokens.audio);
    if (num_placeholders != clips.size()) FailCount(place + " has", num_placeholders, clips.size());
    return ExpandRow(ids, std::move(clips), files.tokens.audio, files.audio.frame_size);
  }

  text::ProcessorFiles files;
};

CsmProcessor CsmProcessor::from_pretrained(const std::filesystem::path& dir) {
  return CsmProcessor(
      std::make_shared<const Impl>(text::ReadProcessorFiles(checkpoint::ResolveModelDir(dir))));
}

void CsmProcessor::save_pretrained(const std::filesystem::path& dir) const {
  text::WriteProcessorFiles(impl_->files, dir);
}

CsmInputs CsmProcessor::operator()(std::string_view text, const Options& options) const {
  const std::string texts[] = {std::string(text)};
  return (*this)(texts, options);
}

CsmInputs CsmProcessor::operator()(std::span<const std::string> texts,
                                   const Options& options) const {
  return (*this)(texts, std::span<const Audio>(), options);
}

CsmInputs CsmProcessor::operator()(std::span<const std::string> texts,
                                   std::span<const Audio> audios, const Options& options) const {
  const text::ProcessorFiles& files = impl_->files;
  const Tokenizer::Options encoding{.add_special_tokens = options.add_special_tokens,
                                    .parse_special = options.parse_special || !audios.empty()};
  if (texts.empty()) Fail<ArgumentError>("there is no text to process");
  std::vector<std::vector<int32_t>> ids;
  size_t num_placeholders = 0;
  for (const std::string& text : texts) {
    ids.push_back(files.tokenizer.encode(text, encoding));
    num_placeholders += CountId(ids.back(), files.tokens.audio);
  }
  if (num_placeholders != audios.size()) {
    FailCount("the texts have", num_placeholders, audios.size());
  }
  CsmInputs inputs = impl_->MakeInputs();
  size_t next_audio = 0;
  for (const auto& row_ids : ids) {
    std::vector<text::Clip> clips;
    for (size_t i = CountId(row_ids, files.tokens.audio); i > 0; --i, ++next_audio) {
      At(fmt::format("audio {}", next_audio),
         [&] { clips.push_back(text::MakeClip(audios[next_audio], files.audio)); });
    }
    inputs.rows.push_back(
        ExpandRow(row_ids, std::move(clips), files.tokens.audio, files.audio.frame_size));
  }
  impl_->Finish(options, {}, &inputs);
  return inputs;
}

CsmInputs CsmProcessor::apply_chat_template(const Conversation& conversation,
                                            const Options& options) const {
  return apply_chat_template(std::span(&conversation, 1), options);
}

CsmInputs CsmProcessor::apply_chat_template(std::span<const Conversation> batch,
                                            const Options& options) const {
  if (batch.empty()) Fail<ArgumentError>("there is no conversation to process");
  CsmInputs inputs = impl_->MakeInputs();
  for (size_t i = 0; i < batch.size(); ++i) {
    inputs.rows.push_back(impl_->MakeRow(batch[i], i, options));
  }
  impl_->Finish(options, batch, &inputs);
  return inputs;
}

const Tokenizer& CsmProcessor::tokenizer() const { return impl_->files.tokenizer; }

int CsmProcessor::sampling_rate() const { return impl_->files.audio.sampling_rate; }

const std::filesystem::path& CsmProcessor::name_or_path() const { return impl_->files.dir; }

Waveform CsmProcessor::load_audio(const std::filesystem::path& file) const {
  return audio::ReadAudio(file, sampling_rate());
}

int64_t CsmProcessor::save_audio(std::span<const float> audio, const std::filesystem::path& file,
                                 std::string_view subtype) const {
  std::optional<audio::SampleType> type;
  if (!subtype.empty()) type = audio::ParseSampleType(subtype);
  return audio::WriteAudio(file, audio, sampling_rate(), type);
}

}  // namespace csm

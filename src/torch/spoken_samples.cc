#include "torch/spoken_samples.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>
#include <tuple>

#include "audio/audio_writer.h"
#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/config_writer.h"
#include "engine/csm_model.h"
#include "text/conversation.h"

namespace csm::train {
namespace {

constexpr int64_t kMaxFrames = 125;  // ten seconds

std::filesystem::path Folder(const std::filesystem::path& output) { return output / "samples"; }

// The conversation with nothing after the text of its last turn.
Conversation ToBeSpoken(Conversation conversation) {
  std::erase_if(conversation.back().content,
                [](const auto& item) { return std::holds_alternative<Audio>(item); });
  return conversation;
}

GenerationConfig SampleConfig(GenerationConfig config, uint64_t seed) {
  config.max_new_tokens = kMaxFrames;
  config.max_length.reset();
  config.num_return_sequences = 1;
  config.seed = seed;
  config.output_audio = true;
  return config;
}

// A number at the beginning of `text`, which it is taken from, with what follows it.
std::optional<int64_t> TakeNumber(std::string_view& text, std::string_view end) {
  int64_t number = 0;
  const char* last = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), last, number);
  text = std::string_view(rest, static_cast<size_t>(last - rest));
  if (problem != std::errc() || !text.starts_with(end)) return std::nullopt;
  text.remove_prefix(end.size());
  return number;
}

// Of "step-STEP-INDEX.flac".
std::optional<SpokenSample> SampleOf(const std::filesystem::path& file) {
  const std::string name = file.filename().string();
  constexpr std::string_view kPrefix = "step-";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::string_view rest = std::string_view(name).substr(kPrefix.size());
  const auto step = TakeNumber(rest, "-");
  const auto index = step ? TakeNumber(rest, ".flac") : std::nullopt;
  if (!index || !rest.empty()) return std::nullopt;
  return SpokenSample{*step, *index, {}, file};
}

std::vector<float> Speech(const csm::CsmForConditionalGeneration& speaker,
                          const CsmProcessor& processor, const Conversation& conversation,
                          const SampleRequest& request) {
  const CsmInputs inputs = processor.apply_chat_template(conversation, CsmProcessor::Options());
  const CsmGenerateOutput spoken =
      speaker.generate(inputs, SampleConfig(speaker.generation_config(), request.seed),
                       {.is_cancelled = request.is_cancelled});
  return spoken.audio[0];
}

}  // namespace

void SpeakSamples(const checkpoint::CsmCheckpoint& model, const CsmProcessor& processor,
                  const SampleRequest& request, int64_t step) {
  const auto speaker = engine::LoadModel(model, request.loading);
  const std::filesystem::path folder = Folder(request.output);
  checkpoint::MakeFolder(folder);
  for (size_t i = 0; i < request.conversations.size(); ++i) {
    const Conversation conversation = ToBeSpoken(request.conversations[i]);
    std::vector<float> audio;
    try {
      audio = Speech(speaker, processor, conversation, request);
    } catch (const FileError&) {
      throw;
    } catch (const Error& error) {
      if (request.on_note) request.on_note(fmt::format("sample {}: {}", i, error.what()));
      continue;
    }
    if (request.is_cancelled && request.is_cancelled()) return;
    WriteFileAtomically(folder / fmt::format("{}.txt", i),
                        text::ReadTurn(conversation.back()).text);
    audio::WriteAudio(folder / fmt::format("step-{}-{}.flac", step, i), audio,
                      processor.sampling_rate());
  }
}

std::vector<SpokenSample> ReadSpokenSamples(const std::filesystem::path& output) {
  std::vector<SpokenSample> samples;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(Folder(output), error)) {
    auto sample = SampleOf(entry.path());
    if (!sample) continue;
    const auto text = Folder(output) / fmt::format("{}.txt", sample->index);
    if (std::filesystem::exists(text, error)) sample->text = ReadFile(text);
    samples.push_back(std::move(*sample));
  }
  std::sort(samples.begin(), samples.end(), [](const SpokenSample& a, const SpokenSample& b) {
    return std::tie(a.index, a.step) < std::tie(b.index, b.step);
  });
  return samples;
}

void RemoveSamplesAfter(const std::filesystem::path& output, int64_t step) {
  for (const SpokenSample& sample : ReadSpokenSamples(output)) {
    std::error_code ignored;  // it is written over, or only takes room
    if (sample.step > step) std::filesystem::remove(sample.file, ignored);
  }
}

}  // namespace csm::train

#include "text/processor_files.h"

#include <string_view>

#include "audio/resampler.h"
#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/json_file.h"

namespace csm::text {
namespace {

constexpr double kFramesPerSecond = 12.5;  // Mimi's, where no config.json tells

// What this library does with a conversation (ReadTurn, CsmProcessor), for transformers to run. The
// published template differs in that it reads the text of the first item only, so that audio before
// text loses the text, and wants audio in every message but the last.
constexpr std::string_view kChatTemplate =
    R"({%- for message in messages %}
    {%- if not (message['role'] is string and message['role'].isdigit()) %}
        {{- raise_exception("The role must be a string of digits, such as '0', designating the speaker") }}
    {%- endif %}
    {%- if message['content'] is string %}
        {%- set content = [{'type': 'text', 'text': message['content']}] %}
    {%- else %}
        {%- set content = message['content'] %}
    {%- endif %}
    {%- set texts = content | selectattr('type', 'equalto', 'text') | list %}
    {%- set audios = content | selectattr('type', 'equalto', 'audio') | list %}
    {%- if texts | length != 1 or audios | length > 1 or (texts + audios) | length != content | length %}
        {{- raise_exception("A message has one item of type 'text' and at most one of type 'audio'") }}
    {%- endif %}
    {{- '<|begin_of_text|>[' ~ message['role'] ~ ']' ~ texts[0]['text'] ~ '<|end_of_text|>' }}
    {%- if audios %}
        {{- '<|AUDIO|><|audio_eos|>' }}
    {%- endif %}
{%- endfor %})";

int32_t RequireToken(const Tokenizer& tokenizer, const std::filesystem::path& dir,
                     std::string_view token) {
  const auto id = tokenizer.token_to_id(token);
  if (!id) {
    Fail<FormatError>("{} has no token \"{}\", which CSM's prompts are made with",
                      (dir / "tokenizer.json").string(), token);
  }
  return *id;
}

/// A token is written as its text, or as an object with that text.
std::optional<std::string> TokenMember(const Json& config, const char* key,
                                       const std::filesystem::path& file) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return std::nullopt;
  const Json& value =
      found->is_object() && found->contains("content") ? found->at("content") : *found;
  if (!value.is_string()) {
    Fail<FormatError>("{}: {} is {}; it should be a token", file.string(), key,
                      JsonTypeName(value));
  }
  return value.get<std::string>();
}

void ReadTokenizerConfig(ProcessorFiles* files) {
  const auto file = files->dir / "tokenizer_config.json";
  const Json config = checkpoint::ReadOptionalConfigJson(file);
  if (const auto pad = TokenMember(config, "pad_token", file)) {
    const auto id = files->tokenizer.token_to_id(*pad);
    if (!id)
      Fail<FormatError>("{}: pad_token \"{}\" is not in tokenizer.json", file.string(), *pad);
    files->tokens.pad = *id;
  }
  if (const auto side = TokenMember(config, "padding_side", file)) {
    if (*side != "left" && *side != "right") {
      Fail<FormatError>("{}: padding_side is \"{}\"; it should be \"left\" or \"right\"",
                        file.string(), *side);
    }
    files->padding_side = *side;
  }
}

void ReadConfig(ProcessorFiles* files) {
  if (!checkpoint::ModelFileExists(files->dir / "config.json")) return;
  const CsmConfig config = CsmConfig::from_pretrained(files->dir);
  const auto check_id = [&](const char* key, int64_t id, std::string_view token, int32_t token_id) {
    if (id == token_id) return;
    Fail<FormatError>("{}: {} is {}, but \"{}\" has the id {} in tokenizer.json",
                      (files->dir / "config.json").string(), key, id, token, token_id);
  };
  check_id("audio_token_id", config.audio_token_id, "<|AUDIO|>", files->tokens.audio);
  check_id("audio_eos_token_id", config.audio_eos_token_id, "<|audio_eos|>",
           files->tokens.audio_eos);
  files->audio.sampling_rate = static_cast<int>(config.codec_config.sampling_rate);
  files->audio.frame_size = config.codec_config.frame_size();
  files->audio.num_codebooks = config.num_codebooks;
  files->audio.codebook_size = config.codec_config.codebook_size;
}

/// transformers 5 nests the feature extractor in processor_config.json; 4 has a file for it.
void ReadSamplingRate(ProcessorFiles* files) {
  auto file = files->dir / "processor_config.json";
  Json config = checkpoint::ReadOptionalConfigJson(file);
  if (config.contains("feature_extractor") && config["feature_extractor"].is_object()) {
    config = Json(config["feature_extractor"]);
  } else {
    file = files->dir / "preprocessor_config.json";
    config = checkpoint::ReadOptionalConfigJson(file);
  }
  const auto found = config.find("sampling_rate");
  if (found == config.end() || found->is_null()) return;
  const double rate = found->is_number() ? found->get<double>() : 0;
  if (!(rate >= audio::kMinSamplingRate && rate <= audio::kMaxSamplingRate)) {
    Fail<FormatError>("{}: sampling_rate is {}; it should be in Hz, such as 24000", file.string(),
                      found->dump().substr(0, 40));
  }
  if (files->audio.codebook_size && rate != files->audio.sampling_rate) {
    Fail<FormatError>("{}: sampling_rate is {}, but the codec of config.json takes {} Hz",
                      file.string(), rate, files->audio.sampling_rate);
  }
  files->audio.sampling_rate = static_cast<int>(rate);
  if (!files->audio.codebook_size) {
    files->audio.frame_size = static_cast<int64_t>(rate / kFramesPerSecond);
  }
}

Json ProcessorConfig(const AudioLimits& audio) {
  Json extractor;
  extractor["chunk_length_s"] = nullptr;
  extractor["feature_extractor_type"] = "EncodecFeatureExtractor";
  extractor["feature_size"] = 1;
  extractor["overlap"] = nullptr;
  extractor["padding_side"] = "right";
  extractor["padding_value"] = 0.0;
  extractor["return_attention_mask"] = true;
  extractor["sampling_rate"] = audio.sampling_rate;
  Json config;
  config["feature_extractor"] = extractor;
  config["processor_class"] = "CsmProcessor";
  return config;
}

Json TokenizerConfig(const ProcessorFiles& files) {
  Json config;
  config["bos_token"] = "<|begin_of_text|>";
  config["eos_token"] = "<|end_of_text|>";
  config["pad_token"] = files.tokenizer.id_to_token(files.tokens.pad).value();
  config["padding_side"] = files.padding_side;
  config["processor_class"] = "CsmProcessor";
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  return config;
}

}  // namespace

ProcessorFiles ReadProcessorFiles(const std::filesystem::path& dir) {
  ProcessorFiles files{.dir = dir, .tokenizer = Tokenizer::from_pretrained(dir)};
  files.tokens.begin_of_text = RequireToken(files.tokenizer, dir, "<|begin_of_text|>");
  files.tokens.end_of_text = RequireToken(files.tokenizer, dir, "<|end_of_text|>");
  files.tokens.audio = RequireToken(files.tokenizer, dir, "<|AUDIO|>");
  files.tokens.audio_eos = RequireToken(files.tokenizer, dir, "<|audio_eos|>");
  files.tokens.pad = files.tokens.end_of_text;  // the published choice
  ReadTokenizerConfig(&files);
  ReadConfig(&files);
  ReadSamplingRate(&files);
  return files;
}

void WriteProcessorFiles(const ProcessorFiles& files, const std::filesystem::path& dir) {
  checkpoint::MakeFolder(dir);
  // What was read is copied, so that fields unknown here are not lost. Read first: the folder may
  // be the one they came from.
  const std::string tokenizer = checkpoint::ReadModelFile(files.dir / "tokenizer.json");
  const auto source = files.dir / "tokenizer_config.json";
  const std::string config = checkpoint::ModelFileExists(source)
                                 ? checkpoint::ReadModelFile(source)
                                 : TokenizerConfig(files).dump(2) + "\n";
  WriteFileAtomically(dir / "tokenizer.json", tokenizer);
  WriteFileAtomically(dir / "tokenizer_config.json", config);
  WriteFileAtomically(dir / "processor_config.json", ProcessorConfig(files.audio).dump(2) + "\n");
  WriteFileAtomically(dir / "chat_template.jinja", kChatTemplate);
}

}  // namespace csm::text

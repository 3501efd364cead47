// The files of a checkpoint that say how a conversation becomes ids.
#ifndef CSM_TEXT_PROCESSOR_FILES_H_
#define CSM_TEXT_PROCESSOR_FILES_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "csm/csm.hpp"

namespace csm::text {

/// The ids of the fixed parts of a prompt.
struct PromptTokens {
  int32_t begin_of_text = 0;  ///< "<|begin_of_text|>"
  int32_t end_of_text = 0;    ///< "<|end_of_text|>"
  int32_t audio = 0;          ///< "<|AUDIO|>"
  int32_t audio_eos = 0;      ///< "<|audio_eos|>"
  int32_t pad = 0;
};

/// What the codec and the model take.
struct AudioLimits {
  int sampling_rate = 24000;
  int64_t frame_size = 1920;             ///< samples
  std::optional<int64_t> num_codebooks;  ///< none if the folder has no config.json
  std::optional<int64_t> codebook_size;
};

struct ProcessorFiles {
  std::filesystem::path dir;
  Tokenizer tokenizer;
  PromptTokens tokens;
  AudioLimits audio;
  std::string padding_side = "left";
};

/// Reads DIR/tokenizer.json and, where there are, config.json (codec, ids), tokenizer_config.json
/// (pad_token, padding_side), processor_config.json or preprocessor_config.json (sampling_rate).
/// Throws FormatError naming the file if the tokenizer lacks a token or two files disagree.
ProcessorFiles ReadProcessorFiles(const std::filesystem::path& dir);

/// Writes a folder that transformers' CsmProcessor loads: tokenizer.json and tokenizer_config.json
/// as they were read, processor_config.json, chat_template.jinja.
void WriteProcessorFiles(const ProcessorFiles& files, const std::filesystem::path& dir);

}  // namespace csm::text

#endif  // CSM_TEXT_PROCESSOR_FILES_H_

// What is to be said: --text, --text-file or --conversation.
#ifndef CSM_CLI_PROMPT_OPTIONS_H_
#define CSM_CLI_PROMPT_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "text/conversation.h"

namespace csm::cli {

/// Must outlive the parsing of the App.
class PromptOptions {
 public:
  void AddTo(CLI::App& command);

  /// Throws UsageError unless exactly one prompt is given.
  void Check() const;
  /// Reads the files and standard input. Throws FileError, FormatError.
  text::ConversationFile Read() const;
  /// Every file that the prompt is made of, audio included.
  std::vector<std::filesystem::path> Files(const std::vector<Conversation>& conversations) const;

 private:
  std::string text_;
  std::string text_file_;
  std::string conversation_file_;
  std::string speaker_ = "0";
  CLI::Option* text_option_ = nullptr;
  CLI::Option* text_file_option_ = nullptr;
  CLI::Option* conversation_option_ = nullptr;
  CLI::Option* speaker_option_ = nullptr;
};

/// All of standard input. Throws FileError, also beyond `max_bytes`.
std::string ReadStandardInput(size_t max_bytes);

}  // namespace csm::cli

#endif  // CSM_CLI_PROMPT_OPTIONS_H_

#include "cli/prompt_options.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/atomic_file.h"
#include "base/error.h"
#include "cli/commands.h"

namespace csm::cli {
namespace {

// Far beyond any model's positions; what is too long for one is said with its numbers.
constexpr size_t kMaxTextBytes = size_t{64} << 20;

/// A text file ends in a line break, and may begin with a byte order mark, that nobody means to
/// have spoken.
std::string SpokenText(std::string text) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

}  // namespace

std::string ReadStandardInput(size_t max_bytes) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t count = read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count == 0) return text;
    if (count < 0) {
      if (errno == EINTR) continue;
      Fail<FileError>("cannot read standard input: {}", std::strerror(errno));
    }
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > max_bytes) {
      Fail<FileError>("standard input is larger than {} bytes, the limit for a text", max_bytes);
    }
  }
}

void PromptOptions::AddTo(CLI::App& command) {
  const std::string group = "What to say (one of these)";
  text_option_ =
      command.add_option("text,--text", text_, "Text to speak; -: read it from standard input")
          ->type_name("TEXT")
          ->group(group);
  text_file_option_ = command.add_option("--text-file", text_file_, "File with the text to speak")
                          ->type_name("FILE")
                          ->group(group);
  conversation_option_ =
      command
          .add_option("--conversation", conversation_file_,
                      "Conversation in Hugging Face's chat form, or a list\nof them, as JSON")
          ->type_name("FILE")
          ->group(group);
  speaker_option_ =
      command.add_option("--speaker", speaker_, "Who speaks the text (default: 0)")->type_name("N");
}

void PromptOptions::Check() const {
  const auto given = {text_option_, text_file_option_, conversation_option_};
  const auto count = std::count_if(given.begin(), given.end(),
                                   [](const CLI::Option* option) { return option->count() > 0; });
  if (count != 1) {
    throw UsageError("give one of --text, --text-file and --conversation");
  }
  if (conversation_option_->count() > 0 && speaker_option_->count() > 0) {
    throw UsageError("--speaker goes with a text; a conversation names its speakers itself");
  }
}

text::ConversationFile PromptOptions::Read() const {
  if (conversation_option_->count() > 0) {
    return text::ReadConversations(conversation_file_);
  }
  std::string text = text_;
  if (text_option_->count() == 0) {
    text = SpokenText(ReadFile(text_file_, kMaxTextBytes));
  } else if (text == "-") {
    text = SpokenText(ReadStandardInput(kMaxTextBytes));
  }
  Message message;
  message.role = speaker_;
  message.content.emplace_back(Text{std::move(text)});
  return {{{std::move(message)}}, false};
}

std::vector<std::filesystem::path> PromptOptions::Files(
    const std::vector<Conversation>& conversations) const {
  std::vector<std::filesystem::path> files = text::AudioFiles(conversations);
  files.insert(files.end(), {text_file_, conversation_file_});
  return files;
}

}  // namespace csm::cli

// What a message of a conversation may hold.
#ifndef CSM_TEXT_CONVERSATION_H_
#define CSM_TEXT_CONVERSATION_H_

#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "csm/csm.hpp"

namespace csm::text {

/// A message that has been checked: who speaks, what, and how it sounds. Points into the message.
struct Turn {
  std::string_view role;
  std::string_view text;
  const Audio* audio = nullptr;  ///< null: the turn has no audio
};

/// Reads a message: a role of decimal digits and, in any order, one text and at most one audio.
/// Throws ArgumentError with a sentence about the message, to be completed with its place.
Turn ReadTurn(const Message& message);

/// The audio files that conversations name.
std::vector<std::filesystem::path> AudioFiles(std::span<const Conversation> conversations);

struct ConversationFile {
  std::vector<Conversation> conversations;
  bool is_batch = false;  ///< a list of conversations was given, be it of one
};

/// A conversation file's text; `file` is named in messages and its folder holds the audio.
ConversationFile ParseConversations(std::string_view json, const std::filesystem::path& file);
ConversationFile ReadConversations(const std::filesystem::path& file);

}  // namespace csm::text

#endif  // CSM_TEXT_CONVERSATION_H_

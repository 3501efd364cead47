#include "text/conversation.h"

#include <algorithm>
#include <array>
#include <limits>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"

namespace csm {
namespace {

/// The beginning of a text in quotes, fit for a message whatever bytes it has.
std::string Quoted(std::string_view text) {
  constexpr size_t kMaxBytes = 80;
  const Json json(std::string(text.substr(0, kMaxBytes)));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

namespace text {

Turn ReadTurn(const Message& message) {
  Turn turn{.role = message.role};
  const bool is_number =
      std::all_of(turn.role.begin(), turn.role.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (turn.role.empty() || !is_number) {
    Fail<ArgumentError>(
        "role {} is not a speaker; a speaker is a number in digits, such as "
        "\"0\"",
        Quoted(turn.role));
  }
  int num_texts = 0;
  int num_audios = 0;
  for (const auto& item : message.content) {
    if (const auto* text = std::get_if<Text>(&item)) {
      turn.text = text->text;
      ++num_texts;
    } else {
      turn.audio = std::get_if<Audio>(&item);
      ++num_audios;
    }
  }
  if (num_texts != 1 || num_audios > 1) {
    Fail<ArgumentError>(
        "content has {} texts and {} audios; a message has one text and at most "
        "one audio, the speech of that text",
        num_texts, num_audios);
  }
  return turn;
}

std::vector<std::filesystem::path> AudioFiles(std::span<const Conversation> conversations) {
  std::vector<std::filesystem::path> files;
  for (const Conversation& conversation : conversations) {
    for (const Message& message : conversation) {
      for (const auto& item : message.content) {
        const auto* audio = std::get_if<Audio>(&item);
        if (audio == nullptr) continue;
        const auto* path = std::get_if<std::filesystem::path>(&audio->source);
        if (path != nullptr) files.push_back(*path);
      }
    }
  }
  return files;
}

}  // namespace text

namespace {

// The longest text a model can take is a thousand times smaller.
constexpr size_t kMaxFileBytes = size_t{16} << 20;
// Objects of these files have two or three keys.
constexpr size_t kMaxKeys = 100;
constexpr uint64_t kMaxCode = std::numeric_limits<int32_t>::max();

/// Turns JSON into conversations; remembers where it is, for messages.
class ConversationReader {
 public:
  explicit ConversationReader(const std::filesystem::path& file)
      : file_(file.string()), folder_(file.parent_path()) {}

  text::ConversationFile Read(const Json& root) {
    if (!root.is_array()) {
      Fail<FormatError>(
          "{}: the file holds {}; it should hold a list of messages, or a list of "
          "such lists",
          file_, JsonTypeName(root));
    }
    if (root.empty()) Fail<FormatError>("{}: the list of messages is empty", file_);
    if (!root.front().is_array()) return {{ReadConversation(root)}, /*is_batch=*/false};
    text::ConversationFile file{.is_batch = true};
    for (const Json& item : root) {
      conversation_ = static_cast<int64_t>(file.conversations.size());
      file.conversations.push_back(ReadConversation(item));
    }
    return file;
  }

 private:
  template <typename... Args>
  [[noreturn]] void FailHere(fmt::format_string<Args...> format, Args&&... args) const {
    std::string place = fmt::format("conversation {}", conversation_);
    if (message_ >= 0) place += fmt::format(", message {}", message_);
    Fail<FormatError>("{}: {}: {}", file_, place, fmt::format(format, std::forward<Args>(args)...));
  }

  Conversation ReadConversation(const Json& list) {
    message_ = -1;
    if (!list.is_array()) FailHere("it is {}, not a list of messages", JsonTypeName(list));
    if (list.empty()) FailHere("it has no messages; at least one is needed");
    Conversation conversation;
    for (const Json& item : list) {
      message_ = static_cast<int64_t>(conversation.size());
      conversation.push_back(ReadMessage(item));
    }
    return conversation;
  }

  Message ReadMessage(const Json& json) const {
    if (!json.is_object()) {
      FailHere("it is {}, not an object with \"role\" and \"content\"", JsonTypeName(json));
    }
    Message message;
    const Json& role = Member(json, "role", "");
    if (!role.is_string()) {
      FailHere("role is {}; it should be a string of digits, such as \"0\"", JsonTypeName(role));
    }
    message.role = role.get<std::string>();
    const Json& content = Member(json, "content", "");
    if (content.is_string()) {
      message.content.emplace_back(Text{content.get<std::string>()});
    } else if (content.is_array()) {
      for (const Json& item : content) {
        const std::string where = fmt::format("content[{}]", message.content.size());
        ReadItem(item, where, &message);
      }
    } else {
      FailHere("content is {}; it should be a list of texts and audios", JsonTypeName(content));
    }
    if (const auto train = json.find("train"); train != json.end()) {
      if (!train->is_boolean()) {
        FailHere("train is {}; it should be true, or false for a turn that is context alone",
                 JsonTypeName(*train));
      }
      message.train = train->get<bool>();
    }
    try {
      text::ReadTurn(message);
    } catch (const ArgumentError& error) {
      FailHere("{}", error.what());
    }
    return message;
  }

  // Built in place: GCC 12 warns without cause about a moved variant.
  void ReadItem(const Json& item, const std::string& where, Message* message) const {
    if (!item.is_object()) {
      FailHere("{} is {}, not an object such as {{\"type\": \"text\", \"text\": \"…\"}}", where,
               JsonTypeName(item));
    }
    const std::string type = StringMember(item, "type", where);
    if (type == "text") {
      message->content.emplace_back(Text{StringMember(item, "text", where)});
    } else if (type == "audio") {
      if (item.contains("codes")) {
        message->content.emplace_back(Audio{ReadCodes(item, where)});
      } else {
        message->content.emplace_back(Audio{ReadPath(item, where)});
      }
    } else {
      FailHere("{}.type is {}; it should be \"text\" or \"audio\"", where, Quoted(type));
    }
  }

  /// Frames, each a list of one code a codebook. Whether they fit a model is seen when one is
  /// there.
  Codes ReadCodes(const Json& item, const std::string& where) const {
    if (NumOf(item, kPathKeys) > 0) {
      FailHere("{} has both \"codes\" and an audio file; it should have one of them", where);
    }
    const Json& frames = item["codes"];
    const bool has_frames = frames.is_array() && !frames.empty() && frames[0].is_array();
    if (!has_frames || frames[0].empty()) {
      FailHere("{}.codes is not a list of frames, each a list of one code a codebook", where);
    }
    Codes codes{.num_codebooks = static_cast<int>(frames[0].size())};
    for (size_t t = 0; t < frames.size(); ++t) {
      if (!frames[t].is_array() || frames[t].size() != frames[0].size()) {
        FailHere("{}.codes[{}] is not a list of {} codes, as the first frame is", where, t,
                 frames[0].size());
      }
      for (const Json& code : frames[t]) {
        const bool is_code = code.is_number_unsigned() && code.get<uint64_t>() <= kMaxCode;
        if (!is_code) FailHere("{}.codes[{}] holds {}, which is no code", where, t, code.dump());
        codes.data.push_back(code.get<int32_t>());
      }
    }
    return codes;
  }

  static size_t NumOf(const Json& item, std::span<const char* const> keys) {
    return static_cast<size_t>(std::count_if(keys.begin(), keys.end(),
                                             [&](const char* key) { return item.contains(key); }));
  }

  // transformers takes any of these keys for the same thing.
  static constexpr std::array kPathKeys = {"path", "url", "audio"};

  std::filesystem::path ReadPath(const Json& item, const std::string& where) const {
    const size_t num_keys = NumOf(item, kPathKeys);
    if (num_keys != 1) {
      FailHere(
          "{} has {} of the keys \"path\", \"url\" and \"audio\"; it should have one, an audio "
          "file, or \"codes\"",
          where, num_keys);
    }
    const char* key = *std::find_if(kPathKeys.begin(), kPathKeys.end(),
                                    [&](const char* name) { return item.contains(name); });
    const std::string path = StringMember(item, key, where);
    if (path.empty() || path.find('\0') != std::string::npos) {
      FailHere("{}.{} is not the name of a file", where, key);
    }
    const bool is_url = path.find("://") != std::string::npos || path.starts_with("data:");
    if (is_url) {
      FailHere("{}.{} is the address {}; nothing is downloaded, so it should be a local file",
               where, key, Quoted(path));
    }
    return folder_ / path;  // an absolute path stays as it is
  }

  std::string StringMember(const Json& object, const char* key, const std::string& where) const {
    const Json& value = Member(object, key, where);
    if (!value.is_string()) {
      FailHere("{}.{} is {}; it should be a string", where, key, JsonTypeName(value));
    }
    return value.get<std::string>();
  }

  const Json& Member(const Json& object, const char* key, const std::string& where) const {
    const auto found = object.find(key);
    if (found == object.end()) FailHere("{}{}{} is missing", where, where.empty() ? "" : ".", key);
    return *found;
  }

  std::string file_;
  std::filesystem::path folder_;
  int64_t conversation_ = 0;
  int64_t message_ = -1;
};

}  // namespace

text::ConversationFile text::ParseConversations(std::string_view json,
                                                const std::filesystem::path& file) {
  return ConversationReader(file).Read(ParseJson(json, file.string(), kMaxKeys));
}

text::ConversationFile text::ReadConversations(const std::filesystem::path& file) {
  return ParseConversations(ReadFile(file, kMaxFileBytes), file);
}

std::vector<Conversation> load_conversations(const std::filesystem::path& json_file) {
  return text::ReadConversations(json_file).conversations;
}

}  // namespace csm

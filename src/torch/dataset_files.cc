#if defined(__GNUC__) && !defined(__clang__)
// csv.h cuts a file's name to fit, and ends it.
#pragma GCC diagnostic ignored "-Wstringop-truncation"
#endif

#include "torch/dataset_files.h"

#include <libfccp/csv.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "text/conversation.h"

namespace csm::train {
namespace {

Conversation OneTurn(const std::filesystem::path& audio, std::string text, std::string speaker) {
  Message message{.role = speaker.empty() ? "0" : std::move(speaker), .content = {}};
  message.content.emplace_back(Text{std::move(text)});
  message.content.emplace_back(Audio{audio});
  text::ReadTurn(message);  // throws if the speaker is no number
  return {std::move(message)};
}

// An object of metadata.jsonl.
Conversation FromObject(const Json& object, const std::filesystem::path& folder) {
  const auto text_of = [&](const char* key) {
    const auto value = object.find(key);
    if (value == object.end()) Fail<FormatError>("{} is missing", key);
    if (!value->is_string())
      Fail<FormatError>("{} is {}; it should be a string", key, JsonTypeName(*value));
    return value->get<std::string>();
  };
  std::string speaker = "0";
  if (const auto id = object.find("speaker_id"); id != object.end() && !id->is_null()) {
    speaker = id->is_string() ? id->get<std::string>() : id->dump();
  }
  return OneTurn(folder / text_of("file_name"), text_of("text"), speaker);
}

std::string LineOf(const std::filesystem::path& file, size_t number) {
  return fmt::format("{}, line {}", file.string(), number);
}

std::vector<PlacedConversation> ReadJsonLines(const std::filesystem::path& file) {
  const std::string content = ReadFile(file);
  std::vector<PlacedConversation> conversations;
  size_t number = 0;
  for (size_t first = 0; first < content.size();) {
    const size_t end = std::min(content.find('\n', first), content.size());
    const std::string_view line = std::string_view(content).substr(first, end - first);
    first = end + 1;
    ++number;
    const size_t begin = line.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) continue;
    const std::string place = LineOf(file, number);
    try {
      if (line[begin] == '{') {
        conversations.push_back(
            {FromObject(ParseJson(line, file.string()), file.parent_path()), place});
        continue;
      }
      for (Conversation& each : text::ParseConversations(line, file).conversations) {
        conversations.push_back({std::move(each), place});
      }
    } catch (const Error& error) {
      Fail<FormatError>("{}: {}", place, error.what());
    }
  }
  return conversations;
}

std::vector<PlacedConversation> ReadAudioFolder(const std::filesystem::path& file) {
  io::CSVReader<3, io::trim_chars<' ', '\t'>, io::double_quote_escape<',', '"'>> reader(
      file.string());
  reader.read_header(io::ignore_extra_column | io::ignore_missing_column, "file_name", "text",
                     "speaker_id");
  for (const char* column : {"file_name", "text"}) {
    if (!reader.has_column(column)) {
      Fail<FormatError>(
          "{}: there is no column {}; there should be file_name, text and perhaps "
          "speaker_id",
          file.string(), column);
    }
  }
  std::vector<PlacedConversation> conversations;
  std::string name, text, speaker;
  while (reader.read_row(name, text, speaker)) {
    conversations.push_back(
        {OneTurn(file.parent_path() / name, text, speaker), LineOf(file, reader.get_file_line())});
  }
  return conversations;
}

std::vector<PlacedConversation> ReadLjSpeech(const std::filesystem::path& file) {
  io::CSVReader<3, io::trim_chars<' ', '\t'>, io::no_quote_escape<'|'>> reader(file.string());
  reader.set_header("id", "text", "normalised");
  std::vector<PlacedConversation> conversations;
  std::string id, text, normalised;
  while (reader.read_row(id, text, normalised)) {
    const auto audio = file.parent_path() / "wavs" / (id + ".wav");
    conversations.push_back({OneTurn(audio, normalised.empty() ? text : normalised, "0"),
                             LineOf(file, reader.get_file_line())});
  }
  return conversations;
}

std::vector<PlacedConversation> ReadCsv(const std::filesystem::path& file) {
  try {
    const std::string content = ReadFile(file);
    const std::string_view first = std::string_view(content).substr(0, content.find('\n'));
    return std::count(first.begin(), first.end(), '|') == 2 ? ReadLjSpeech(file)
                                                            : ReadAudioFolder(file);
  } catch (const io::error::base& error) {
    Fail<FormatError>("{}", error.what());
  } catch (const ArgumentError& error) {
    Fail<FormatError>("{}: {}", file.string(), error.what());
  }
}

std::vector<PlacedConversation> ReadChats(const std::filesystem::path& file) {
  std::vector<PlacedConversation> conversations;
  for (Conversation& each : load_conversations(file)) {
    conversations.push_back(
        {std::move(each), fmt::format("{}, conversation {}", file.string(), conversations.size())});
  }
  return conversations;
}

}  // namespace

std::vector<PlacedConversation> ReadDatasetFiles(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    for (const char* name : {"metadata.jsonl", "metadata.csv"}) {
      if (std::filesystem::exists(path / name)) return ReadDatasetFiles(path / name);
    }
    Fail<FileError>("{} holds neither metadata.jsonl nor metadata.csv", path.string());
  }
  if (path.extension() == ".jsonl") return ReadJsonLines(path);
  return path.extension() == ".csv" ? ReadCsv(path) : ReadChats(path);
}

}  // namespace csm::train

#if defined(__GNUC__) && !defined(__clang__)
// csv.h cuts a file's name to fit, and ends it.
#pragma GCC diagnostic ignored "-Wstringop-truncation"
#endif

#include "torch/dataset_files.h"

#include <libfccp/csv.h>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "text/conversation.h"
#include "text/utf8.h"

namespace csm::train {
namespace {

Conversation OneTurn(const std::filesystem::path& audio, std::string text, std::string speaker) {
  Message message{.role = speaker.empty() ? "0" : std::move(speaker), .content = {}};
  message.content.emplace_back(Text{std::move(text)});
  message.content.emplace_back(Audio{audio});
  text::ReadTurn(message);  // throws if the speaker is no number
  return {std::move(message)};
}

using OnNote = std::function<void(const std::string& sentence)>;

constexpr std::array<std::string_view, 3> kColumns = {"file_name", "text", "speaker_id"};

// Of AudioFolder's columns, those that mean nothing here.
void NoteUnused(const std::filesystem::path& file, const std::set<std::string>& columns,
                const OnNote& on_note) {
  std::vector<std::string> unused;
  for (const std::string& column : columns) {
    if (std::find(kColumns.begin(), kColumns.end(), column) == kColumns.end()) {
      unused.push_back("'" + column + "'");
    }
  }
  if (unused.empty() || !on_note) return;
  on_note(fmt::format("{}: {} not used; file_name, text and speaker_id are", file.string(),
                      fmt::join(unused, ", ")));
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

std::vector<PlacedConversation> ReadJsonLines(const std::filesystem::path& file,
                                              const OnNote& on_note) {
  const std::string content = ReadFile(file);
  std::set<std::string> columns;
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
    const bool is_object = line[begin] == '{';
    const Json object = is_object ? ParseJson(line, place) : Json();
    for (const auto& [key, value] : object.items()) columns.insert(key);
    try {
      if (is_object) {
        conversations.push_back({FromObject(object, file.parent_path()), place});
        continue;
      }
      for (Conversation& each : text::ParseConversations(line, file).conversations) {
        conversations.push_back({std::move(each), place});
      }
    } catch (const Error& error) {
      Fail<FormatError>("{}: {}", place, error.what());
    }
  }
  NoteUnused(file, columns, on_note);
  return conversations;
}

// OneTurn, whose ArgumentError says what is wrong in a line.
PlacedConversation TurnOfLine(const std::string& place, const std::filesystem::path& audio,
                              const std::string& text, const std::string& speaker) {
  try {
    return {OneTurn(audio, text, speaker), place};
  } catch (const ArgumentError& error) {
    Fail<FormatError>("{}: {}", place, error.what());
  }
}

// As HF's reader, which takes no notice of empty lines.
using CommaReader = io::CSVReader<3, io::trim_chars<' ', '\t'>, io::double_quote_escape<',', '"'>,
                                  io::throw_on_overflow, io::empty_line_comment>;
using BarReader = io::CSVReader<3, io::trim_chars<' ', '\t'>, io::no_quote_escape<'|'>,
                                io::throw_on_overflow, io::empty_line_comment>;

std::vector<PlacedConversation> ReadAudioFolder(const std::filesystem::path& file) {
  CommaReader reader(file.string());
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
        TurnOfLine(LineOf(file, reader.get_file_line()), file.parent_path() / name, text, speaker));
  }
  return conversations;
}

std::vector<PlacedConversation> ReadLjSpeech(const std::filesystem::path& file) {
  BarReader reader(file.string());
  reader.set_header("id", "text", "normalised");
  std::vector<PlacedConversation> conversations;
  std::string id, text, normalised;
  while (reader.read_row(id, text, normalised)) {
    const auto audio = file.parent_path() / "wavs" / (id + ".wav");
    conversations.push_back(TurnOfLine(LineOf(file, reader.get_file_line()), audio,
                                       normalised.empty() ? text : normalised, "0"));
  }
  return conversations;
}

void CheckUtf8(const std::filesystem::path& file, std::string_view content) {
  const size_t valid = text::ValidUtf8Prefix(content);
  if (valid == content.size()) return;
  const auto number =
      std::count(content.begin(), content.begin() + static_cast<ptrdiff_t>(valid), '\n');
  Fail<FormatError>("{} is not UTF-8: save it as that",
                    LineOf(file, static_cast<size_t>(number) + 1));
}

// The names in a header, of which none holds a comma.
std::set<std::string> ColumnsOf(std::string_view header) {
  std::set<std::string> columns;
  if (header.starts_with("\xEF\xBB\xBF")) header.remove_prefix(3);  // a byte order mark
  while (!header.empty()) {
    const size_t end = std::min(header.find(','), header.size());
    const std::string_view name = header.substr(0, end);
    const size_t first = name.find_first_not_of(" \t\r\"");
    if (first != std::string_view::npos) {
      columns.emplace(name.substr(first, name.find_last_not_of(" \t\r\"") + 1 - first));
    }
    header.remove_prefix(std::min(end + 1, header.size()));
  }
  return columns;
}

std::vector<PlacedConversation> ReadCsv(const std::filesystem::path& file, const OnNote& on_note) {
  const std::string content = ReadFile(file);
  CheckUtf8(file, content);
  const std::string_view first = std::string_view(content).substr(0, content.find('\n'));
  const auto line = [&](int number) { return LineOf(file, static_cast<size_t>(number)); };
  try {
    if (std::count(first.begin(), first.end(), '|') == 2) return ReadLjSpeech(file);
    std::vector<PlacedConversation> conversations = ReadAudioFolder(file);
    NoteUnused(file, ColumnsOf(first), on_note);
    return conversations;
  } catch (const io::error::too_few_columns& error) {
    Fail<FormatError>("{} has fewer columns than there should be", line(error.file_line));
  } catch (const io::error::too_many_columns& error) {
    Fail<FormatError>(
        "{} has more columns than there should be; a text with commas belongs in "
        "double quotes",
        line(error.file_line));
  } catch (const io::error::escaped_string_not_closed& error) {
    Fail<FormatError>("{}: a double quote is not closed", line(error.file_line));
  } catch (const io::error::header_missing&) {
    Fail<FormatError>("{} is empty; its first line should be file_name,text,speaker_id",
                      file.string());
  } catch (const io::error::base& error) {
    Fail<FormatError>("{}", error.what());
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

std::vector<PlacedConversation> ReadDatasetFiles(const std::filesystem::path& path,
                                                 const OnNote& on_note) {
  if (std::filesystem::is_directory(path)) {
    if (on_note && std::filesystem::exists(path / "metadata.jsonl") &&
        std::filesystem::exists(path / "metadata.csv")) {
      on_note(fmt::format("{} holds both metadata.jsonl, which is read, and metadata.csv",
                          path.string()));
    }
    for (const char* name : {"metadata.jsonl", "metadata.csv"}) {
      if (std::filesystem::exists(path / name)) return ReadDatasetFiles(path / name, on_note);
    }
    Fail<FileError>("{} holds neither metadata.jsonl nor metadata.csv", path.string());
  }
  if (path.extension() == ".jsonl") return ReadJsonLines(path, on_note);
  return path.extension() == ".csv" ? ReadCsv(path, on_note) : ReadChats(path);
}

}  // namespace csm::train

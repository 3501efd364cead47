// The files that datasets of speech come in.
#ifndef CSM_TORCH_DATASET_FILES_H_
#define CSM_TORCH_DATASET_FILES_H_

#include <filesystem>
#include <string>
#include <vector>

#include "csm/csm.hpp"

namespace csm::train {

/// A conversation, and where it was read: "FILE, line 3", "FILE, conversation 2".
struct PlacedConversation {
  Conversation conversation;
  std::string place;
};

/// Reads, by what it is:
///   FILE.json            a conversation in HF's chat form, or a list of them
///   FILE.jsonl           one a line; or, as HF's AudioFolder has it, objects with file_name, text
///                        and perhaps speaker_id, each a conversation of one turn
///   FILE.csv             AudioFolder's metadata.csv with these columns; or LJSpeech's, lines of
///                        ID|text|normalised text without a header, for wavs/ID.wav
///   FOLDER               its metadata.jsonl or metadata.csv
/// Audio is relative to the file's folder; a speaker is a number, 0 if there is none. `on_note` is
/// told which columns of AudioFolder's are not used. Throws FileError, FormatError with the line.
std::vector<PlacedConversation> ReadDatasetFiles(
    const std::filesystem::path& path,
    const std::function<void(const std::string& sentence)>& on_note = {});

}  // namespace csm::train

#endif  // CSM_TORCH_DATASET_FILES_H_

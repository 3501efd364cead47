#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>

#include "audio/audio_writer.h"
#include "base/atomic_file.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/messages.h"

namespace csm::cli {

CLI::Option* AudioOptions::AddTo(CLI::App& command) {
  command.add_option("--subtype", subtype_, "Sample type of wav and flac (default: PCM_16)")
      ->type_name("FLOAT|PCM_16|PCM_24")
      ->check(CLI::IsMember({"FLOAT", "PCM_16", "PCM_24"}).description(""));
  return command
      .add_option("--output", output_,
                  "Audio file: wav, flac, ogg, opus or mp3 by its name;\n"
                  "-: wav to standard output while it is made")
      ->type_name("FILE");
}

std::optional<audio::SampleType> AudioOptions::sample_type() const {
  if (subtype_.empty()) return std::nullopt;
  return audio::ParseSampleType(subtype_);
}

std::filesystem::path AudioOptions::FileOf(int index, bool is_batch) const {
  std::filesystem::path file(output_);
  if (!is_batch) return file;
  const std::string name =
      fmt::format("{}_{}{}", file.stem().string(), index, file.extension().string());
  return file.parent_path() / name;
}

void AudioOptions::CheckStream(bool is_batch) const {
  if (!is_stream()) return;
  if (is_batch) throw UsageError("--output - carries one sequence, and this is a batch");
  if (isatty(STDOUT_FILENO) == 1) {
    throw UsageError("standard output is a terminal: send --output - to a file or a player");
  }
}

std::vector<std::filesystem::path> AudioOptions::Files(size_t num_sequences, bool is_batch) const {
  std::vector<std::filesystem::path> files;
  if (output_.empty() || is_stream()) return files;
  for (size_t i = 0; i < num_sequences; ++i) {
    files.push_back(FileOf(static_cast<int>(i), is_batch));
  }
  return files;
}

void AudioOptions::CheckWritable(int sampling_rate, size_t num_sequences, bool is_batch) const {
  if (output_.empty() && !subtype_.empty()) throw UsageError("--subtype needs --output");
  for (const std::filesystem::path& file : Files(num_sequences, is_batch)) {
    audio::AudioWriter(file, sampling_rate, sample_type());  // never committed: leaves no file
  }
}

void CheckDistinct(const std::vector<std::filesystem::path>& outputs,
                   const std::vector<std::filesystem::path>& inputs,
                   const std::vector<std::filesystem::path>& of_model) {
  const auto place = [](const std::filesystem::path& path) {
    std::error_code error;
    return std::filesystem::weakly_canonical(path, error);
  };
  const auto is_file = [](const std::filesystem::path& path) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    return !path.empty() && path != "-" &&
           (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status));
  };
  std::map<std::filesystem::path, std::string_view> seen;  // with what to say of a second one
  for (const std::filesystem::path& input : inputs) {
    if (is_file(input)) seen.emplace(place(input), "is an input, too");
  }
  for (const std::filesystem::path& file : of_model) {
    if (is_file(file)) seen.emplace(place(file), "is a file of the model");
  }
  for (const std::filesystem::path& output : outputs) {
    if (!is_file(output)) continue;
    const auto [other, is_new] = seen.emplace(place(output), "would be written twice");
    if (is_new) continue;
    throw UsageError(
        fmt::format("{} {}: give the output another name", output.string(), other->second));
  }
}

void CheckNewFolder(const std::filesystem::path& dir) {
  std::error_code error;
  if (!std::filesystem::exists(dir, error)) return;
  const bool is_folder = std::filesystem::is_directory(dir, error);
  if (is_folder && std::filesystem::is_empty(dir, error)) return;
  Fail<FileError>("{} exists and is {}: choose another folder", dir.string(),
                  is_folder ? "not empty" : "a file");
}

void ReportAudio(std::string_view target, int64_t num_samples, int sampling_rate,
                 int64_t num_saturated) {
  Say("{}: {:.2f} s", target, static_cast<double>(num_samples) / sampling_rate);
  if (num_saturated == 0) return;
  Say("{}: {} samples were beyond full scale and limited to it; wav with --subtype "
      "FLOAT keeps them\n",
      target, num_saturated);
}

void WriteStandardOutput(std::string_view text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) {
    Fail<FileError>("cannot write to standard output: {}", std::strerror(errno));
  }
}

void WriteText(const std::string& target, std::string_view text) {
  if (target == "-") {
    WriteStandardOutput(text);
  } else {
    WriteFileAtomically(target, text);
  }
}

void CheckTextWritable(const std::string& target) {
  if (target.empty() || target == "-" || OpenFileNumber(target) >= 0) return;
  AtomicFile{target};  // never committed: leaves no file
}

std::string CodesToJson(std::span<const Codes> sequences,
                        std::span<const FinishReason> finish_reasons) {
  Json json;
  json["sequences"] = Json::array();
  for (const Codes& codes : sequences) {
    Json frames = Json::array();
    for (int t = 0; t < codes.num_frames(); ++t) frames.push_back(codes.frame(t));
    json["sequences"].push_back(std::move(frames));
  }
  for (const FinishReason reason : finish_reasons) {
    json["finish_reason"].push_back(to_string(reason));
  }
  return json.dump() + "\n";
}

namespace {

int32_t ReadCode(const Json& json, const std::string& where) {
  if (!json.is_number_integer()) {
    Fail<FormatError>("{} has {}, expected codes, which are integers", where, JsonTypeName(json));
  }
  const auto code = json.get<int64_t>();
  if (code < 0 || code > std::numeric_limits<int32_t>::max()) {
    Fail<FormatError>("{} has the code {}, which is out of range", where, json.dump());
  }
  return static_cast<int32_t>(code);
}

Codes ReadSequence(const Json& frames, const std::string& where) {
  if (!frames.is_array()) {
    Fail<FormatError>("{} is {}, expected a list of frames", where, JsonTypeName(frames));
  }
  Codes codes;
  for (size_t t = 0; t < frames.size(); ++t) {
    const Json& frame = frames[t];
    const std::string place = fmt::format("{}, frame {}", where, t);
    if (!frame.is_array() || frame.empty()) {
      Fail<FormatError>("{} is {}, expected a list of codes, one per codebook", place,
                        frame.is_array() ? "empty" : JsonTypeName(frame));
    }
    if (t == 0) codes.num_codebooks = static_cast<int>(frame.size());
    if (frame.size() != static_cast<size_t>(codes.num_codebooks)) {
      Fail<FormatError>("{} has {} codes, the frames before it have {}", place, frame.size(),
                        codes.num_codebooks);
    }
    for (const Json& code : frame) codes.data.push_back(ReadCode(code, place));
  }
  return codes;
}

}  // namespace

std::vector<Codes> ReadCodes(const std::filesystem::path& file) {
  const Json json = ParseJsonFile(file);
  if (!json.is_object() || !json.contains("sequences") || !json["sequences"].is_array()) {
    Fail<FormatError>("{} is not a codes file, which is an object with a list \"sequences\"",
                      file.string());
  }
  std::vector<Codes> sequences;
  for (const Json& frames : json["sequences"]) {
    sequences.push_back(
        ReadSequence(frames, fmt::format("{}: sequence {}", file.string(), sequences.size())));
  }
  return sequences;
}

}  // namespace csm::cli

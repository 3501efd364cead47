// Where results go: audio files, codes, standard output.
#ifndef CSM_CLI_OUTPUT_H_
#define CSM_CLI_OUTPUT_H_

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audio/sample_type.h"
#include "base/json.h"
#include "csm/csm.hpp"

namespace csm::cli {

/// --output, --subtype. Must outlive the parsing of the App.
class AudioOptions {
 public:
  CLI::Option* AddTo(CLI::App& command);  ///< returns --output

  const std::string& output() const { return output_; }  ///< empty: not given
  bool is_stream() const { return output_ == "-"; }
  /// Of --subtype; none: the format's own.
  std::optional<audio::SampleType> sample_type() const;

  /// The file of sequence `index`: OUT.wav, or in a batch OUT_0.wav, OUT_1.wav, …
  std::filesystem::path FileOf(int index, bool is_batch) const;

  /// Throws UsageError if audio is to go to standard output but cannot: it carries one sequence,
  /// and a terminal is no player.
  void CheckStream(bool is_batch) const;
  /// All of them; none if the audio goes to standard output, or nowhere.
  std::vector<std::filesystem::path> Files(size_t num_sequences, bool is_batch) const;
  /// Throws what writing would throw for the extension, type, rate or folder, so that it is said
  /// before the work instead of after it.
  void CheckWritable(int sampling_rate, size_t num_sequences, bool is_batch) const;

 private:
  std::string output_;
  std::string subtype_;
};

/// Throws UsageError if two of the outputs are one file, or an output is one of the inputs, or of
/// the model's files: the later would overwrite the earlier. Empty paths and "-" stand for no file.
void CheckDistinct(const std::vector<std::filesystem::path>& outputs,
                   const std::vector<std::filesystem::path>& inputs,
                   const std::vector<std::filesystem::path>& of_model);

/// Throws FileError if there is something in the folder already, or a file in its place.
void CheckNewFolder(const std::filesystem::path& dir);

/// Says on standard error what was written, and how many samples were limited to full scale.
void ReportAudio(std::string_view target, int64_t num_samples, int sampling_rate,
                 int64_t num_saturated);

/// Writes to standard output and flushes. Throws FileError if that fails (a full disk, a pipe whose
/// reader is gone).
void WriteStandardOutput(std::string_view text);
/// Writes to a file, complete or not at all, or to standard output if `target` is "-".
void WriteText(const std::string& target, std::string_view text);
/// Throws what WriteText would throw for the folder of `target`; empty and "-" pass.
void CheckTextWritable(const std::string& target);

/// {"sequences": [[[c0, …], … frames], … batch], "finish_reason": ["stop", …]}, without the latter
/// if `finish_reasons` is empty.
std::string CodesToJson(std::span<const Codes> sequences,
                        std::span<const FinishReason> finish_reasons = {});
/// Reads the "sequences" of such a file. Throws FormatError that names the frame at fault.
std::vector<Codes> ReadCodes(const std::filesystem::path& file);

}  // namespace csm::cli

#endif  // CSM_CLI_OUTPUT_H_

// csm encode: audio in, codes out.
#include <algorithm>
#include <memory>

#include "audio/audio_file.h"
#include "base/error.h"
#include "checkpoint/json_file.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace csm::cli {
namespace {

struct EncodeOptions {
  ModelOptions model;
  std::string input;
  std::string codes;
  int num_codebooks = 0;  ///< 0: those that the model speaks
  bool quiet = false;
};

/// Codebooks of a CSM checkpoint's frames; 0, which is all, for a Mimi checkpoint.
int DefaultCodebooks(const std::filesystem::path& dir) {
  const Json config = checkpoint::ReadConfigJson(dir / "config.json");
  if (config.value("model_type", Json()) == "mimi") return 0;
  return static_cast<int>(CsmConfig::from_pretrained(dir).num_codebooks);
}

int Run(const EncodeOptions& options) {
  const std::filesystem::path dir = options.model.Dir();
  CheckDistinct({options.codes}, {options.input}, options.model.Files());
  CheckTextWritable(options.codes);
  const int num_codebooks =
      options.num_codebooks > 0 ? options.num_codebooks : DefaultCodebooks(dir);
  const MimiModel codec = MimiModel::from_pretrained(dir, options.model.Load());
  const auto rate = static_cast<int>(codec.config().sampling_rate);
  audio::AudioReader reader(options.input, rate);
  MimiModel::Encoder encoder(codec, num_codebooks);

  const InterruptGuard guard;
  Progress progress("csm: encoding", "s", reader.claimed_num_samples().value_or(0) / rate,
                    options.quiet);
  Codes codes;
  int64_t num_samples = 0;
  for (auto chunk = reader.ReadChunk(); !chunk.empty(); chunk = reader.ReadChunk()) {
    if (IsInterrupted()) return ReportInterrupted();
    codes.append(encoder.push(chunk));
    num_samples += std::ssize(chunk);
    progress.Update(num_samples / rate);
  }
  codes.append(encoder.finish());
  progress.Finish();
  WriteText(options.codes, CodesToJson({&codes, 1}));
  Say("{}: {} frames of {} codes", options.codes, codes.num_frames(), codes.num_codebooks);
  return kExitOk;
}

}  // namespace

void AddEncode(CLI::App& app, Action& action) {
  auto options = std::make_shared<EncodeOptions>();
  CLI::App* command = app.add_subcommand("encode", "Turn audio into codes with the model's codec");
  options->model.AddModelTo(*command);
  command->add_option("input", options->input, "Audio file of any rate; channels are averaged")
      ->type_name("IN.wav")
      ->required();
  command->add_option("--codes", options->codes, "JSON file for the codes (-: standard output)")
      ->type_name("OUT.json")
      ->required();
  command
      ->add_option("--num-codebooks", options->num_codebooks,
                   "Codes per frame (default: as many as the model speaks)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024).description(""));
  command->add_flag("--quiet", options->quiet, "Show no progress");
  options->model.AddLoadingTo(*command);
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

// csm decode: codes in, audio out; every frame, whatever its codes.
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <span>

#include "audio/audio_writer.h"
#include "audio/wav_stream.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace csm::cli {
namespace {

// 2 s of audio: large enough for products of matrices, small beside the codec's weights.
constexpr int kFramesPerStep = 25;

struct DecodeOptions {
  ModelOptions model;
  std::string codes;
  AudioOptions audio;
  bool quiet = false;
};

/// Decodes piece by piece and calls write(samples) -> bool until that or an interrupt says stop;
/// returns whether it came to the end.
template <typename Write>
bool Decode(const MimiModel& codec, const Codes& codes, bool quiet, const Write& write) {
  MimiModel::Decoder decoder(codec);
  Progress progress("csm: decoding", "frames", codes.num_frames(), quiet);
  for (int begin = 0; begin < codes.num_frames(); begin += kFramesPerStep) {
    const int end = std::min(begin + kFramesPerStep, codes.num_frames());
    Codes piece{codes.num_codebooks, {}};
    for (int t = begin; t < end; ++t) {
      piece.data.insert(piece.data.end(), codes.frame(t).begin(), codes.frame(t).end());
    }
    if (IsInterrupted() || !write(decoder.push(piece))) return false;
    progress.Update(end);
  }
  return true;
}

int DecodeToStream(const DecodeOptions& options, const MimiModel& codec, const Codes& codes) {
  const auto rate = static_cast<int>(codec.config().sampling_rate);
  audio::WavStream stream(STDOUT_FILENO, rate,
                          options.audio.sample_type().value_or(audio::SampleType::kPcm16));
  const bool whole = Decode(codec, codes, options.quiet,
                            [&](std::span<const float> samples) { return stream.Write(samples); });
  const bool ended = stream.Finish();
  if (IsInterrupted()) return ReportInterrupted();
  if (!whole || !ended) Fail<FileError>("standard output was closed by its reader before the end");
  ReportAudio("standard output", stream.num_samples(), rate, stream.num_saturated());
  return kExitOk;
}

int DecodeToFile(const DecodeOptions& options, const MimiModel& codec, const Codes& codes,
                 const std::filesystem::path& file) {
  const auto rate = static_cast<int>(codec.config().sampling_rate);
  audio::AudioWriter writer(file, rate, options.audio.sample_type());
  const bool whole = Decode(codec, codes, options.quiet, [&](std::span<const float> samples) {
    writer.Write(samples);
    return true;
  });
  if (!whole) return ReportInterrupted();
  writer.Commit();
  ReportAudio(file.string(), writer.num_samples(), rate, writer.num_saturated());
  return kExitOk;
}

/// Before anything is written: the codec would refuse a bad sequence after writing the good ones.
void CheckCodes(const std::vector<Codes>& sequences, const MimiConfig& config,
                const std::string& file) {
  for (size_t s = 0; s < sequences.size(); ++s) {
    const Codes& codes = sequences[s];
    if (codes.num_codebooks > config.num_quantizers) {
      Fail<FormatError>("{}: sequence {} has {} codebooks; the codec decodes 1 to {}", file, s,
                        codes.num_codebooks, config.num_quantizers);
    }
    for (size_t i = 0; i < codes.data.size(); ++i) {
      if (codes.data[i] < config.codebook_size) continue;
      const auto width = static_cast<size_t>(codes.num_codebooks);
      Fail<FormatError>(
          "{}: sequence {}, frame {}, codebook {} has code {}; the codec's are 0 to {}", file, s,
          i / width, i % width, codes.data[i], config.codebook_size - 1);
    }
  }
}

int Run(const DecodeOptions& options) {
  const std::vector<Codes> sequences = ReadCodes(options.codes);
  if (sequences.empty()) Fail<FormatError>("{} has no sequences", options.codes);
  const bool is_batch = sequences.size() > 1;
  options.audio.CheckStream(is_batch);
  CheckDistinct(options.audio.Files(sequences.size(), is_batch), {options.codes},
                options.model.Files());
  const auto codec = MimiModel::from_pretrained(options.model.Dir(), options.model.Load());
  CheckCodes(sequences, codec.config(), options.codes);
  options.audio.CheckWritable(static_cast<int>(codec.config().sampling_rate), sequences.size(),
                              is_batch);

  const InterruptGuard guard;
  if (options.audio.is_stream()) return DecodeToStream(options, codec, sequences[0]);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto file = options.audio.FileOf(static_cast<int>(i), is_batch);
    const int status = DecodeToFile(options, codec, sequences[i], file);
    if (status != kExitOk) return status;
  }
  return kExitOk;
}

}  // namespace

void AddDecode(CLI::App& app, Action& action) {
  auto options = std::make_shared<DecodeOptions>();
  CLI::App* command =
      app.add_subcommand("decode", "Turn codes into audio: every frame, whatever its codes");
  options->model.AddModelTo(*command);
  command
      ->add_option("codes", options->codes,
                   "JSON file of codes, as written by encode and generate;\n"
                   "several sequences give OUT_0.wav, OUT_1.wav, ...")
      ->type_name("CODES.json")
      ->required();
  options->audio.AddTo(*command)->required();
  command->add_flag("--quiet", options->quiet, "Show no progress");
  options->model.AddLoadingTo(*command);
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

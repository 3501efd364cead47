// csm generate: text or a conversation in, speech out.
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "audio/audio_writer.h"
#include "audio/wav_stream.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/generate_request.h"
#include "cli/generation_monitor.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/output.h"

namespace csm::cli {
namespace {

constexpr const char* kGenerateFooter = R"(Examples:
  csm generate --text "Hello from Sesame." --output hello.wav
  csm generate --text-file chapter.txt --speaker 1 --max-new-tokens 500 --output chapter.flac
  csm generate --conversation talk.json --seed 7 --output answer.wav
  csm generate --text "Live." --output - | ffplay -nodisp -autoexit -
  csm generate --voice ann.voice "What ann says next." --output next.wav   # see csm voice create

talk.json is a conversation; audio paths in it are relative to its folder:
  [{"role": "0", "content": [{"type": "text", "text": "Hi!"}, {"type": "audio", "path": "hi.wav"}]},
   {"role": "1", "content": [{"type": "text", "text": "Hello, who is there?"}]}]
A list of conversations is a batch, and writes answer_0.wav, answer_1.wav, ...

Options not given are as in the checkpoint's generation_config.json.)";

/// What one generation gave, beside its output.
struct Figures {
  double load_seconds = 0.0;
  double audio_seconds = 0.0;
};

void WriteAudioFiles(const GenerateRequest& request, const AudioOptions& options,
                     const CsmGenerateOutput& output) {
  const int rate = request.SamplingRate();
  for (size_t i = 0; i < output.audio.size(); ++i) {
    const auto file = options.FileOf(static_cast<int>(i), request.is_batch);
    if (output.audio[i].empty()) {
      const std::string extension = CLI::detail::to_lower(file.extension().string());
      const bool can_be_empty = extension == ".wav";
      Say("{}: the model ended at once, there is no speech{}", file.string(),
          can_be_empty ? "" : "; not written, since only a wav file can be empty");
      if (!can_be_empty) continue;
    }
    const int64_t num_saturated =
        audio::WriteAudio(file, output.audio[i], rate, options.sample_type());
    ReportAudio(file.string(), static_cast<int64_t>(output.audio[i].size()), rate, num_saturated);
  }
}

/// Says which sequences were cut off, and what would let them go on.
void ReportEnds(const GenerateRequest& request, const CsmGenerateOutput& output) {
  const auto num_cut =
      std::count(output.finish_reason.begin(), output.finish_reason.end(), FinishReason::kLength);
  if (num_cut == 0) return;
  const std::string who =
      request.is_batch ? fmt::format("{} of {} sequences", num_cut, output.finish_reason.size())
                       : "the speech";
  const int64_t frames = request.MaxFrames();
  if (request.prompt_length + frames >= request.model_config.max_position_embeddings) {
    Say("{} ended at the model's last position, {}", who,
        request.model_config.max_position_embeddings);
  } else {
    Say("{} ended at the limit of {} frames: raise --max-new-tokens", who, frames);
  }
}

void ReportSpeed(const GenerationMonitor& monitor, const Figures& figures) {
  if (!monitor.seconds_to_first_audio()) {
    Say("{} frames in {:.2f} s", monitor.num_frames(), monitor.seconds());
    return;
  }
  Say("{:.2f} s of audio in {:.2f} s (RTF {:.3f}), first audio after {:.3f} s",
      figures.audio_seconds, monitor.seconds(), monitor.seconds() / figures.audio_seconds,
      *monitor.seconds_to_first_audio());
}

/// Times in milliseconds; null where there was no audio.
std::string TimesToJson(const GenerationMonitor& monitor, const Figures& figures) {
  Json json;
  json["frames"] = monitor.num_frames();
  json["load_ms"] = 1e3 * figures.load_seconds;
  json["prefill_ms"] = 1e3 * monitor.seconds_to_prefilled();
  json["ms_per_frame"] = 1e3 * monitor.seconds_per_frame();
  json["total_ms"] = 1e3 * monitor.seconds();
  json["audio_ms"] = 1e3 * figures.audio_seconds;
  json["rtf"] = nullptr;
  json["ttfa_ms"] = nullptr;
  if (monitor.seconds_to_first_audio()) {
    json["rtf"] = monitor.seconds() / figures.audio_seconds;
    json["ttfa_ms"] = 1e3 * *monitor.seconds_to_first_audio();
  }
  json["peak_rss_bytes"] = PeakResidentBytes();
  return json.dump() + "\n";
}

bool IsCancelled(const CsmGenerateOutput& output) {
  return std::count(output.finish_reason.begin(), output.finish_reason.end(),
                    FinishReason::kCancelled) > 0;
}

void Report(const GenerateOptions& options, const GenerateRequest& request,
            const CsmGenerateOutput& output, const GenerationMonitor& monitor, Figures figures) {
  for (const std::vector<float>& audio : output.audio) {
    figures.audio_seconds += static_cast<double>(audio.size()) / request.SamplingRate();
  }
  ReportSpeed(monitor, figures);
  ReportEnds(request, output);
  if (request.Draws() && !request.config.seed) {
    Say("--seed {} gives the same again", output.seed);
  }
  if (!options.timing_json().empty()) {
    WriteText(options.timing_json(), TimesToJson(monitor, figures));
  }
}

int Run(const GenerateOptions& options) {
  const GenerateRequest request = options.Read();
  Figures figures;
  const auto load_start = Clock::now();
  const auto model = CsmForConditionalGeneration::from_pretrained(request.dir, options.Load());
  figures.load_seconds = SecondsSince(load_start);

  std::optional<audio::WavStream> stream;
  if (options.audio().is_stream()) {
    stream.emplace(STDOUT_FILENO, request.SamplingRate(),
                   options.audio().sample_type().value_or(audio::SampleType::kPcm16));
  }
  const InterruptGuard guard;
  GenerationMonitor monitor(request.MaxFrames(), stream ? &*stream : nullptr, options.quiet());
  const CsmGenerateOutput output = model.generate(request.inputs, request.config,
                                                  monitor.Callbacks(request.config.output_audio));
  monitor.Finish();

  if (monitor.reader_is_gone() || (stream && !stream->Finish())) {
    Fail<FileError>("standard output was closed by its reader before the speech ended");
  }
  if (IsCancelled(output)) return ReportInterrupted();
  if (stream) {
    ReportAudio("standard output", stream->num_samples(), request.SamplingRate(),
                stream->num_saturated());
  } else {
    WriteAudioFiles(request, options.audio(), output);
  }
  if (!options.codes().empty()) {
    WriteText(options.codes(), CodesToJson(output.sequences, output.finish_reason));
  }
  Report(options, request, output, monitor, figures);
  return kExitOk;
}

}  // namespace

void AddGenerate(CLI::App& app, Action& action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command =
      app.add_subcommand("generate", "Speak a text, or the last turn of a conversation");
  command->footer(kGenerateFooter);
  options->AddTo(*command);
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

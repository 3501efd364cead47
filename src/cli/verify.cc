// csm verify: whether this machine gives the published codes of csm-1b.
#include <algorithm>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/generation_monitor.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/published_codes.h"

namespace csm::cli {
namespace {

struct VerifyOptions {
  ModelOptions model;
  std::string codes;  ///< made before; empty: by the model, now
};

/// Throws ArgumentError if the checkpoint cannot be csm-1b, with what gives it away.
void CheckIsCsm1b(const CsmConfig& config) {
  const CsmConfig expected;  // the defaults are csm-1b's geometry
  if (config.hidden_size == expected.hidden_size &&
      config.num_hidden_layers == expected.num_hidden_layers &&
      config.num_codebooks == kPublishedCodebooks) {
    return;
  }
  Fail<ArgumentError>(
      "verify knows the codes of sesame/csm-1b ({} layers of width {}, {} codebooks), and this "
      "checkpoint has {} layers of width {} and {} codebooks",
      expected.num_hidden_layers, expected.hidden_size, kPublishedCodebooks,
      config.num_hidden_layers, config.hidden_size, config.num_codebooks);
}

CsmGenerateOutput Generate(const ModelOptions& options) {
  const std::filesystem::path dir = options.Dir();
  CheckIsCsm1b(CsmConfig::from_pretrained(dir));
  Message message;
  message.role = "0";
  message.content.emplace_back(Text{kPublishedText});
  const CsmInputs inputs =
      CsmProcessor::from_pretrained(dir).apply_chat_template(Conversation{message});
  const auto model = CsmForConditionalGeneration::from_pretrained(dir, options.Load());
  GenerationConfig config;  // greedy
  config.max_new_tokens = kPublishedFrames;
  config.output_audio = false;
  const InterruptGuard guard;  // from here on the work looks at it
  GenerationMonitor monitor(kPublishedFrames, nullptr, /*quiet=*/false);
  CsmGenerateOutput output = model.generate(inputs, config, monitor.Callbacks(false));
  monitor.Finish();
  return output;
}

/// One line for standard output; true if all is as published.
bool Compare(const Codes& codes) {
  for (int t = 0; t < kPublishedFrames; ++t) {
    if (t == codes.num_frames()) {
      WriteStandardOutput(
          fmt::format("differs: the speech ended after {} of {} frames\n", t, kPublishedFrames));
      return false;
    }
    const auto frame = codes.frame(t);
    const auto [ours, theirs] = std::mismatch(frame.begin(), frame.end(), kPublishedCodes[t]);
    if (ours == frame.end()) continue;
    WriteStandardOutput(fmt::format("differs first at frame {}, codebook {}: {} instead of {}\n", t,
                                    ours - frame.begin(), *ours, *theirs));
    return false;
  }
  WriteStandardOutput(fmt::format("equal: all {} frames of {} codes are as published\n",
                                  kPublishedFrames, kPublishedCodebooks));
  return true;
}

int Run(const VerifyOptions& options) {
  if (!options.codes.empty()) {
    const std::vector<Codes> sequences = ReadCodes(options.codes);
    if (sequences.size() != 1 || sequences[0].num_codebooks != kPublishedCodebooks) {
      Fail<FormatError>("{} does not hold one sequence of {} codebooks", options.codes,
                        kPublishedCodebooks);
    }
    return Compare(sequences[0]) ? kExitOk : kExitError;
  }
  const CsmGenerateOutput output = Generate(options.model);
  if (output.finish_reason[0] == FinishReason::kCancelled) return ReportInterrupted();
  return Compare(output.sequences[0]) ? kExitOk : kExitError;
}

}  // namespace

void AddVerify(CLI::App& app, Action& action) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command =
      app.add_subcommand("verify", "Check that csm-1b gives its published codes on this machine");
  CLI::Option* model = options->model.AddModelTo(*command);
  options->model.AddLoadingTo(*command);
  options->model.AddDeviceTo(*command);
  command
      ->add_option("--codes", options->codes,
                   "Compare these codes, made elsewhere, instead of making them now")
      ->type_name("FILE")
      ->excludes(model);
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

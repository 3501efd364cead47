// csm quantize: a checkpoint into one GGUF file with small weights.
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/runtime.h"
#include "checkpoint/quantize_checkpoint.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace csm::cli {
namespace {

constexpr const char* kQuantizeFooter =
    R"(Types, in bits a weight, and what one costs a matrix of normal weights:
  f16, bf16   16
  q8_0        8.5   0.5 % error (GGUF's Q8_0)
  q4          4.5   7.3 % error (GGUF's IQ4_NL)

Every command takes the file as --model but train, eval, merge and quantize.)";

struct QuantizeOptions {
  ModelOptions model;
  std::string type;
  std::string output;
  bool report = false;
  bool quiet = false;
};

std::string Percent(double share) { return fmt::format("{:.3f} %", 100 * share); }

/// How far the new model's logits and codes are from the original's, on a sentence.
void ReportDrift(const std::filesystem::path& original, const std::filesystem::path& quantized,
                 const Runtime& runtime) {
  constexpr int64_t kFrames = 25;
  Message message{.role = "0", .content = {}};
  message.content.emplace_back(Text{"The past is just a story we tell ourselves."});
  const CsmInputs inputs =
      CsmProcessor::from_pretrained(original).apply_chat_template(Conversation{message});
  GenerationConfig config;  // greedy
  config.max_new_tokens = kFrames;
  config.output_audio = false;
  std::vector<float> logits[2];
  Codes codes[2];
  for (const int i : {0, 1}) {
    const auto model = CsmForConditionalGeneration::from_pretrained(i == 0 ? original : quantized,
                                                                    {.runtime = runtime});
    logits[i] = model.forward(inputs, {.logits_to_keep = 1}).logits[0].data;
    codes[i] = model.generate(inputs, config).sequences[0];
  }
  double error = 0, norm = 0;
  for (size_t k = 0; k < logits[0].size(); ++k) {
    error += std::pow(double{logits[1][k]} - logits[0][k], 2);
    norm += std::pow(double{logits[0][k]}, 2);
  }
  const auto end = std::mismatch(codes[0].data.begin(), codes[0].data.end(), codes[1].data.begin(),
                                 codes[1].data.end());
  WriteStandardOutput(fmt::format(
      "logits of a sentence: {} error; greedy codes: the first {} of {} equal\n",
      Percent(std::sqrt(error / norm)), end.first - codes[0].data.begin(), codes[0].data.size()));
}

void ReportTensors(const std::vector<checkpoint::QuantizedTensor>& tensors) {
  for (const auto& tensor : tensors) {
    WriteStandardOutput(fmt::format(
        "{:<80} {:>5.2f} bits {:>12}{}\n", tensor.name,
        8.0 * static_cast<double>(tensor.num_bytes) / static_cast<double>(tensor.num_weights),
        tensor.relative_error == 0 ? "exact" : Percent(tensor.relative_error),
        tensor.stays_wide ? fmt::format("  stays 16-bit: rows of {} are not multiples of 32 long",
                                        tensor.row_length)
                          : ""));
  }
}

void SayResult(const std::string& output, const std::vector<checkpoint::QuantizedTensor>& tensors) {
  int64_t weights = 0, bytes = 0, wide = 0;
  for (const auto& tensor : tensors) {
    weights += tensor.num_weights;
    bytes += tensor.num_bytes;
    if (tensor.stays_wide) ++wide;
  }
  Say("{}: {:.0f} MB, {:.2f} bits a weight", output, static_cast<double>(bytes) / 1e6,
      8.0 * static_cast<double>(bytes) / static_cast<double>(weights));
  if (wide > 0) {
    Say("{} matrices stay 16-bit, since their rows are not multiples of 32 long", wide);
  }
}

int Run(const QuantizeOptions& options) {
  const std::filesystem::path dir = options.model.Dir();
  if (std::filesystem::path(options.output).extension() != ".gguf") {
    throw UsageError(fmt::format("--output is {}; its name should end in .gguf", options.output));
  }
  const DType dtype = ParseDType(options.type);
  const Runtime runtime = options.model.Threads();
  const checkpoint::CsmCheckpoint model = checkpoint::OpenCsmCheckpoint(dir);
  (void)CsmProcessor::from_pretrained(dir);  // a model without its tokenizer would be of no use
  std::vector<checkpoint::QuantizedTensor> tensors;
  try {
    const InterruptGuard guard;
    tensors = checkpoint::QuantizeCheckpoint(model, dtype, options.output, runtime.impl()->pool,
                                             ShowBytes("csm: quantizing", options.quiet));
  } catch (const Interrupted&) {
    return ReportInterrupted();
  }
  SayResult(options.output, tensors);
  if (options.report) {
    ReportTensors(tensors);
    ReportDrift(dir, options.output, runtime);
  }
  return kExitOk;
}

}  // namespace

void AddQuantize(CLI::App& app, Action& action) {
  auto options = std::make_shared<QuantizeOptions>();
  CLI::App* command =
      app.add_subcommand("quantize", "Write a checkpoint as one GGUF file with small weights");
  command->footer(kQuantizeFooter);
  options->model.AddModelTo(*command);
  AddTypeTo(*command, "--type", options->type, {"f16", "bf16", "q8_0", "q4"},
            "Type of the matrices")
      ->required();
  command->add_option("--output", options->output, "The file to write")
      ->type_name("FILE.gguf")
      ->required();
  command->add_flag("--report", options->report,
                    "Print each tensor's error, and how far logits and codes drift");
  options->model.AddThreadsTo(*command);
  command->add_flag("--quiet", options->quiet, "Show no progress");
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

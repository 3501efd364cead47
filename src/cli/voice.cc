// csm voice: contexts that are read once and spoken after many times.
#include "engine/voice.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "checkpoint/safetensors_header.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/messages.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/prompt_options.h"
#include "text/conversation.h"

namespace csm::cli {
namespace {

constexpr const char* kCreateFooter = R"(Example:
  csm voice create --model DIR --conversation ann.json --output ann.voice
  csm generate --model DIR --voice ann.voice --text "And what happened then?" --output then.wav

ann.json is a conversation (see csm generate --help) whose last turn has audio; what generate says
with the voice is what it would say with these turns before its own. A voice is of use to the model
that made it, in the type of weights (--dtype) that made it.)";

struct CreateOptions {
  ModelOptions model;
  std::string conversation;
  std::string output;
  bool parse_special = false;
  bool quiet = false;
};

struct VoiceInfoOptions {
  std::string voice;
  bool json = false;
};

Conversation ReadConversation(const std::string& file) {
  text::ConversationFile read = text::ReadConversations(file);
  if (read.is_batch) {
    Fail<FormatError>("{} holds a list of conversations; a voice is made of one", file);
  }
  return std::move(read.conversations.front());
}

/// Shows a bar for each of the two long parts.
class CreateMonitor {
 public:
  explicit CreateMonitor(bool quiet) : quiet_(quiet) {}

  VoiceCallbacks Callbacks() {
    VoiceCallbacks callbacks;
    callbacks.on_encode = [this](int64_t frames, int64_t total) {
      Show("csm: encoding", "frames", frames, total);
    };
    callbacks.on_prefill = [this](int64_t positions, int64_t total) {
      if (!is_prefilling_) progress_.reset();
      is_prefilling_ = true;
      Show("csm: reading", "positions", positions, total);
    };
    return callbacks;
  }

 private:
  void Show(const char* label, const char* unit, int64_t done, int64_t total) {
    if (IsInterrupted()) throw Interrupted();
    if (!progress_) progress_.emplace(label, unit, total, quiet_);
    progress_->Update(done);
  }

  std::optional<Progress> progress_;
  bool quiet_;
  bool is_prefilling_ = false;
};

uintmax_t FileSize(const std::string& file) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(file, error);
  return error ? 0 : size;  // of what is no regular file
}

std::string Summary(const Voice& voice, const std::string& file) {
  const VoiceInfo& info = voice.info();
  return fmt::format("{} turns, {:.2f} s of audio, {} positions, {:.1f} MB",
                     voice.conversation().size(), info.audio_seconds, info.num_positions,
                     static_cast<double>(FileSize(file)) / 1e6);
}

int Create(const CreateOptions& options) {
  const std::filesystem::path dir = options.model.Dir();
  if (options.output == "-") throw UsageError("a voice is a file: give its name as --output");
  const Conversation conversation = ReadConversation(options.conversation);
  std::vector<std::filesystem::path> inputs = text::AudioFiles({&conversation, 1});
  inputs.emplace_back(options.conversation);
  CheckDistinct({options.output}, inputs, options.model.Files());
  CheckTextWritable(options.output);
  const engine::VoiceContext context = engine::ReadVoiceContext(
      CsmProcessor::from_pretrained(dir), conversation, {.parse_special = options.parse_special},
      CsmConfig::from_pretrained(dir));
  const auto model = CsmForConditionalGeneration::from_pretrained(dir, options.model.Load());
  try {
    const InterruptGuard guard;
    CreateMonitor monitor(options.quiet);
    const Voice voice = engine::MakeVoice(model, context, monitor.Callbacks());
    voice.save(options.output);
    Say("{}: {}", options.output, Summary(voice, options.output));
  } catch (const Interrupted&) {
    return ReportInterrupted();
  }
  return kExitOk;
}

void PrintText(const Voice& voice, const std::string& file) {
  const VoiceInfo& info = voice.info();
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<13}{}\n", name, value);
  };
  line("voice", Summary(voice, file));
  line("model",
       fmt::format("{} ({}, {})", checkpoint::QuoteName(info.model), info.dtype, info.precision));
  line("fingerprint", info.fingerprint);
  for (const Message& message : voice.conversation()) {
    const text::Turn turn = text::ReadTurn(message);
    const int frames = turn.audio == nullptr ? 0 : std::get<Codes>(turn.audio->source).num_frames();
    const double seconds = info.audio_seconds * frames / static_cast<double>(info.num_frames);
    line(fmt::format("speaker {}", turn.role),
         fmt::format("{:.2f} s: {}", seconds, checkpoint::QuoteName(turn.text)));
  }
  WriteStandardOutput(text);
}

void PrintJson(const Voice& voice, const std::string& file) {
  const VoiceInfo& info = voice.info();
  Json json = {{"model", info.model},
               {"dtype", info.dtype},
               {"precision", info.precision},
               {"fingerprint", info.fingerprint},
               {"positions", info.num_positions},
               {"frames", info.num_frames},
               {"audio_seconds", info.audio_seconds},
               {"bytes", FileSize(file)},
               {"turns", Json::array()}};
  for (const Message& message : voice.conversation()) {
    const text::Turn turn = text::ReadTurn(message);
    const int frames = turn.audio == nullptr ? 0 : std::get<Codes>(turn.audio->source).num_frames();
    json["turns"].push_back({{"role", turn.role}, {"text", turn.text}, {"frames", frames}});
  }
  WriteStandardOutput(json.dump(2) + "\n");
}

int ShowInfo(const VoiceInfoOptions& options) {
  const Voice voice = Voice::from_file(options.voice);
  options.json ? PrintJson(voice, options.voice) : PrintText(voice, options.voice);
  return kExitOk;
}

void AddVoiceCreate(CLI::App& voice, Action& action) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* command =
      voice.add_subcommand("create", "Read a conversation and save what the model keeps of it");
  command->footer(kCreateFooter);
  command
      ->add_option("--conversation", options->conversation,
                   "Conversation in Hugging Face's chat form, as JSON")
      ->type_name("FILE")
      ->required();
  options->model.AddModelTo(*command);
  command->add_option("--output", options->output, "The voice to write")
      ->type_name("FILE")
      ->required();
  command->add_flag("--parse-special", options->parse_special,
                    "Let special tokens in the text be tokens, as transformers does");
  command->add_flag("--quiet", options->quiet, "Show no progress");
  options->model.AddLoadingTo(*command);
  options->model.AddAdapterTo(*command);
  command->callback([options, &action] { action = [options] { return Create(*options); }; });
}

void AddVoiceInfo(CLI::App& voice, Action& action) {
  auto options = std::make_shared<VoiceInfoOptions>();
  CLI::App* command = voice.add_subcommand("info", "Print a voice's model, turns and size");
  command->add_option("voice", options->voice, "The voice")->type_name("FILE")->required();
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &action] { action = [options] { return ShowInfo(*options); }; });
}

}  // namespace

void AddVoice(CLI::App& app, Action& action) {
  CLI::App* command =
      app.add_subcommand("voice", "Save a context, to speak after it without reading it again");
  command->require_subcommand(1);
  AddVoiceCreate(*command, action);
  AddVoiceInfo(*command, action);
}

}  // namespace csm::cli

#include "cli/generate_request.h"

#include <algorithm>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/messages.h"
#include "engine/prompt.h"

namespace csm::cli {

int64_t GenerateRequest::MaxFrames() const { return engine::MaxFrames(config, prompt_length); }

void GenerateOptions::AddTo(CLI::App& command) {
  prompt_.AddTo(command);
  model_.AddModelTo(command);
  command
      .add_option("--voice", voice_,
                  "Saved context (csm voice create) that comes before the\ntext or conversation")
      ->type_name("FILE");
  command.add_flag("--parse-special", parse_special_,
                   "Let special tokens in the text be tokens, as transformers does");
  audio_.AddTo(command);
  command
      .add_option("--codes", codes_,
                  "JSON file for the codes (-: standard output);\n"
                  "without --output, no audio is made")
      ->type_name("FILE");
  command.add_option("--timing-json", timing_json_, "JSON file for times and memory")
      ->type_name("FILE");
  command.add_flag("--quiet", quiet_, "Show no progress");
  generation_.AddTo(command);
  model_.AddLoadingTo(command);
  model_.AddAdapterTo(command);
  model_.AddDeviceTo(command);
}

GenerateRequest GenerateOptions::Read() const {
  CheckUsage();
  GenerateRequest request;
  request.dir = model_.Dir();
  request.model_config = CsmConfig::from_pretrained(request.dir);
  request.config = generation_.Apply(GenerationConfig::from_pretrained(request.dir));
  request.config.output_audio = !audio_.output().empty();
  const text::ConversationFile prompt = prompt_.Read();
  request.is_batch = prompt.is_batch || request.config.num_return_sequences > 1;
  CheckTargets(request, prompt.conversations);
  request.inputs = ReadInputs(request, prompt.conversations);
  for (const CsmInputs::Row& row : request.inputs.rows) {
    request.prompt_length = std::max(request.prompt_length, std::ssize(row.input_ids));
  }
  for (size_t i = 0; i < prompt.conversations.size(); ++i) {
    if (text::ReadTurn(prompt.conversations[i].back()).audio == nullptr) continue;
    Say("conversation {}: its last message has audio already; what is said comes after it", i);
  }
  FitToPositions(request);
  return request;
}

CsmInputs GenerateOptions::ReadInputs(const GenerateRequest& request,
                                      const std::vector<Conversation>& conversations) const {
  const CsmProcessor::Options options{.parse_special = parse_special_};
  const auto processor = CsmProcessor::from_pretrained(request.dir);
  if (voice_.empty()) return processor.apply_chat_template(conversations, options);
  return Voice::from_file(voice_).apply_chat_template(processor, conversations, options);
}

void GenerateOptions::CheckUsage() const {
  prompt_.Check();
  if (audio_.output().empty() && codes_.empty()) {
    throw UsageError("there is nothing to write: give --output FILE, --codes FILE or both");
  }
  const auto wants_output = [](const std::string& target) { return target == "-" ? 1 : 0; };
  if (wants_output(audio_.output()) + wants_output(codes_) + wants_output(timing_json_) > 1) {
    throw UsageError(
        "--output -, --codes - and --timing-json - all want standard output: give one");
  }
}

void GenerateOptions::CheckTargets(const GenerateRequest& request,
                                   const std::vector<Conversation>& conversations) const {
  const auto num_sequences =
      conversations.size() * static_cast<size_t>(request.config.num_return_sequences);
  audio_.CheckStream(request.is_batch);
  std::vector<std::filesystem::path> outputs = audio_.Files(num_sequences, request.is_batch);
  outputs.insert(outputs.end(), {codes_, timing_json_});
  std::vector<std::filesystem::path> inputs = prompt_.Files(conversations);
  inputs.emplace_back(voice_);
  CheckDistinct(outputs, inputs, model_.Files());
  audio_.CheckWritable(request.SamplingRate(), num_sequences, request.is_batch);
  CheckTextWritable(codes_);
  CheckTextWritable(timing_json_);
}

void GenerateOptions::FitToPositions(GenerateRequest& request) const {
  const int64_t positions = request.model_config.max_position_embeddings;
  const int64_t room = positions - request.prompt_length;
  if (room <= 0) {
    Fail<ArgumentError>(
        "the prompt has {} positions and leaves no room for speech, since the model has {} "
        "(max_position_embeddings)",
        request.prompt_length, positions);
  }
  const int64_t frames = request.MaxFrames();
  if (frames <= room) return;
  if (generation_.IsGiven("--max-new-tokens")) {
    Fail<ArgumentError>(
        "the prompt has {} positions and {} frames are asked for, more than the model's {} "
        "(max_position_embeddings): use --max-new-tokens {} or less",
        request.prompt_length, frames, positions, room);
  }
  Say("at most {} frames instead of {}, since the prompt has {} of {} positions", room, frames,
      request.prompt_length, positions);
  request.config.max_new_tokens = room;
}

}  // namespace csm::cli

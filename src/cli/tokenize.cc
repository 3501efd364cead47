// csm tokenize: text in, token ids out.
#include <algorithm>
#include <memory>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/output.h"

namespace csm::cli {
namespace {

struct TokenizeOptions {
  ModelOptions model;
  std::string tokenizer;
  std::string text;
  std::string file;
  std::string conversation;
  bool add_special_tokens = false;
  bool no_special = false;
  bool parse_special = false;
  bool json = false;
  std::vector<CLI::Option*> sources;  ///< --text, --file, --conversation
};

using Ids = std::vector<std::vector<int32_t>>;

std::vector<std::string> ReadStrings(const std::string& file) {
  const Json json = ParseJsonFile(file);
  if (!json.is_array()) {
    Fail<FormatError>("{} is {}, expected a list of strings", file, JsonTypeName(json));
  }
  std::vector<std::string> strings;
  for (const Json& item : json) {
    if (!item.is_string()) {
      Fail<FormatError>("{}: item {} is {}, expected a string", file, strings.size(),
                        JsonTypeName(item));
    }
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

Ids EncodeStrings(const TokenizeOptions& options) {
  const Tokenizer tokenizer = options.tokenizer.empty()
                                  ? Tokenizer::from_pretrained(options.model.Dir())
                                  : Tokenizer::from_file(options.tokenizer);
  const std::vector<std::string> strings =
      options.file.empty() ? std::vector<std::string>{options.text} : ReadStrings(options.file);
  Ids ids;
  for (const std::string& text : strings) {
    ids.push_back(tokenizer.encode(text, {.add_special_tokens = options.add_special_tokens,
                                          .parse_special = !options.no_special}));
  }
  return ids;
}

Ids EncodeConversations(const TokenizeOptions& options) {
  if (!options.tokenizer.empty()) {
    throw UsageError("--conversation needs --model: a tokenizer alone has no chat template");
  }
  if (options.add_special_tokens || options.no_special) {
    throw UsageError(
        "a conversation has its special tokens and its text has none: --add-special-tokens and "
        "--no-special go with --text and --file");
  }
  const auto processor = CsmProcessor::from_pretrained(options.model.Dir());
  const CsmInputs inputs = processor.apply_chat_template(load_conversations(options.conversation),
                                                         {.parse_special = options.parse_special});
  Ids ids;
  for (const CsmInputs::Row& row : inputs.rows) ids.push_back(row.input_ids);
  return ids;
}

int Run(const TokenizeOptions& options) {
  const auto num_sources =
      std::count_if(options.sources.begin(), options.sources.end(),
                    [](const CLI::Option* source) { return source->count() > 0; });
  if (num_sources != 1) throw UsageError("give one of --text, --file and --conversation");
  if (options.parse_special && options.conversation.empty()) {
    throw UsageError("--parse-special goes with --conversation; other text is parsed anyway");
  }
  const Ids ids =
      options.conversation.empty() ? EncodeStrings(options) : EncodeConversations(options);
  if (options.json) {
    WriteStandardOutput(Json{{"input_ids", ids}}.dump() + "\n");
    return kExitOk;
  }
  std::string lines;
  for (const std::vector<int32_t>& row : ids) lines += fmt::format("{}\n", fmt::join(row, " "));
  WriteStandardOutput(lines);
  return kExitOk;
}

}  // namespace

void AddTokenize(CLI::App& app, Action& action) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of text");
  CLI::Option* model = options->model.AddModelTo(*command);
  command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json instead of a model's")
      ->type_name("FILE")
      ->excludes(model);
  const std::string group = "What to tokenize (one of these)";
  options->sources = {
      command->add_option("--text", options->text, "One string")->type_name("TEXT"),
      command->add_option("--file", options->file, "JSON list of strings")
          ->type_name("STRINGS.json"),
      command
          ->add_option("--conversation", options->conversation,
                       "Conversations in chat form, rendered as generate does;\n"
                       "audio takes one id per frame")
          ->type_name("FILE"),
  };
  for (CLI::Option* source : options->sources) source->group(group);
  command->add_flag("--add-special-tokens", options->add_special_tokens,
                    "Add the begin and end tokens of the tokenizer's post-processor");
  command->add_flag("--no-special", options->no_special,
                    "Special tokens written in the text are plain text");
  command->add_flag("--parse-special", options->parse_special,
                    "Let special tokens in a conversation's text be tokens");
  command->add_flag("--json", options->json, R"(Print {"input_ids": [[…], …]})");
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

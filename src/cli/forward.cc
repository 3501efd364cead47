// csm forward: the backbone's logits after a conversation, for comparing implementations.
#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/output.h"

namespace csm::cli {
namespace {

struct ForwardCommand {
  ModelOptions model;
  std::string conversation;
  bool parse_special = false;
  bool json = false;
};

int Run(const ForwardCommand& options) {
  const std::filesystem::path dir = options.model.Dir();
  const CsmInputs inputs = CsmProcessor::from_pretrained(dir).apply_chat_template(
      load_conversations(options.conversation), {.parse_special = options.parse_special});
  const auto model = CsmForConditionalGeneration::from_pretrained(dir, options.model.Load());
  const CsmOutput output = model.forward(inputs, {.logits_to_keep = 1});

  for (const Matrix& logits : output.logits) {
    const auto is_finite = [](float logit) { return std::isfinite(logit); };
    if (!std::all_of(logits.data.begin(), logits.data.end(), is_finite)) {
      Fail<Error>("the model computed logits that are not finite; its weights are not sound");
    }
  }
  Json json;
  json["input_ids"] = Json::array();
  json["first_logits"] = Json::array();
  for (size_t i = 0; i < inputs.rows.size(); ++i) {
    json["input_ids"].push_back(inputs.rows[i].input_ids);
    json["first_logits"].push_back(output.logits[i].data);
  }
  if (options.json) {
    WriteStandardOutput(json.dump() + "\n");
    return kExitOk;
  }
  for (size_t i = 0; i < inputs.rows.size(); ++i) {
    const std::vector<float>& logits = output.logits[i].data;
    const auto best = std::max_element(logits.begin(), logits.end());
    WriteStandardOutput(fmt::format("row {}: {} positions, best code {} (logit {})\n", i,
                                    inputs.rows[i].input_ids.size(), best - logits.begin(), *best));
  }
  return kExitOk;
}

}  // namespace

void AddForward(CLI::App& app, Action& action) {
  auto options = std::make_shared<ForwardCommand>();
  CLI::App* command =
      app.add_subcommand("forward", "Print the backbone's logits after a conversation");
  options->model.AddModelTo(*command);
  command
      ->add_option("--conversation", options->conversation,
                   "Conversation in Hugging Face's chat form, or a list of them, as JSON")
      ->type_name("FILE")
      ->required();
  command->add_flag("--parse-special", options->parse_special,
                    "Let special tokens in the text be tokens, as transformers does");
  command->add_flag("--json", options->json,
                    R"(Print {"input_ids": [[…], …], "first_logits": [[…], …]}: raw logits of)"
                    "\ncodebook 0 at the last position, one row per conversation");
  options->model.AddLoadingTo(*command);
  options->model.AddAdapterTo(*command);
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

#include "cli/generation_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdio>
#include <string_view>
#include <type_traits>

#include "cli/commands.h"
#include "cli/field_options.h"
#include "cli/messages.h"

namespace csm::cli {
namespace {

constexpr std::string_view kDepthPrefix = "--depth-decoder-";

// Of the backbone's options; a depth decoder's twin is described by reference to it.
constexpr std::array kGenerationHelp = {
    FieldHelp{"--do-sample", "true|false", "Draw codebook 0 at random instead of taking the best"},
    FieldHelp{"--temperature", "X", "Divide logits by X: below 1 is safer, above 1 more varied"},
    FieldHelp{"--top-h", "X", "Keep the likeliest codes up to a share X of the entropy"},
    FieldHelp{"--top-k", "N", "Keep the N likeliest codes; 0: all"},
    FieldHelp{"--top-p", "X", "Keep the likeliest codes that together have probability X"},
    FieldHelp{"--min-p", "X", "Keep codes at least X times as likely as the likeliest"},
    FieldHelp{"--typical-p", "X", "Keep the codes nearest the entropy, up to probability X"},
    FieldHelp{"--epsilon-cutoff", "X", "Keep codes of probability X and more"},
    FieldHelp{"--eta-cutoff", "X", "The same, with a threshold that follows the entropy"},
    FieldHelp{"--max-new-tokens", "N", "At most N frames of 80 ms"},
    FieldHelp{"--max-length", "N", "At most N positions, prompt and frames together"},
    FieldHelp{"--num-return-sequences", "N", "Speak each prompt N times"},
    FieldHelp{"--cache-implementation", "static|dynamic",
              "Allocate the KV cache at once or as it grows (default)"},
};

bool IsDepth(std::string_view option) { return option.starts_with(kDepthPrefix); }

/// Calls visit(option, value) for each field, the nested ones flattened.
template <typename Config, typename Visitor>
void VisitOptions(Config& config, const Visitor& visit, const std::string& prefix = "") {
  std::remove_const_t<Config>::visit_fields(config, [&](std::string_view name, auto& value) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, SamplingConfig>) {
      VisitOptions(value, visit, prefix + std::string(name));
    } else {
      visit(OptionName(prefix + std::string(name)), value);
    }
  });
}

}  // namespace

void GenerationOptions::AddTo(CLI::App& command) {
  command.add_flag("--greedy", greedy_, "Take the best code always, in both models")
      ->group("Sampling");
  VisitOptions(values_, [&](const std::string& option, auto& value) {
    const std::string twin = IsDepth(option) ? "--" + option.substr(kDepthPrefix.size()) : option;
    const FieldHelp& help = HelpOf(kGenerationHelp, twin);
    CLI::Option* parsed = command.add_option(option, value);
    parsed->type_name(std::string(help.type));
    if (IsDepth(option)) {
      parsed->description(fmt::format("As {}, for codebooks 1 and up", twin));
      parsed->group("Sampling of the depth decoder");
    } else {
      parsed->description(std::string(help.text));
      const bool is_sampling = !option.starts_with("--max-") && !option.starts_with("--num-") &&
                               !option.starts_with("--cache-");
      parsed->group(is_sampling ? "Sampling" : "Length");
    }
    AddChecks<std::remove_reference_t<decltype(value)>>(*parsed);
    fields_.push_back({option, parsed, &value});
  });
  seed_option_ = command.add_option("--seed", seed_, "The same seed gives the same speech")
                     ->type_name("N")
                     ->group("Sampling")
                     ->check(CheckInteger<uint64_t>);
}

bool GenerationOptions::IsGiven(const std::string& option) const {
  return std::any_of(fields_.begin(), fields_.end(), [&](const Field& field) {
    return field.option == option && field.parsed->count() > 0;
  });
}

GenerationConfig GenerationOptions::Apply(GenerationConfig config) const {
  // A length from the command line replaces the checkpoint's, in whichever unit that one is.
  if (IsGiven("--max-length")) config.max_new_tokens.reset();
  if (IsGiven("--max-new-tokens")) config.max_length.reset();
  auto field = fields_.begin();
  VisitOptions(config, [&]([[maybe_unused]] const std::string& option, auto& value) {
    assert(field->option == option);
    if (field->parsed->count() > 0) {
      value = *static_cast<const std::remove_reference_t<decltype(value)>*>(field->value);
    }
    ++field;
  });
  if (greedy_) {
    for (const char* option : {"--do-sample", "--depth-decoder-do-sample"}) {
      if (IsGiven(option)) throw UsageError(fmt::format("--greedy and {} contradict", option));
    }
    config.do_sample = config.depth_decoder.do_sample = false;
  }
  if (seed_option_->count() > 0) config.seed = seed_;
  try {
    config.validate();
  } catch (const ArgumentError& error) {
    throw UsageError(error.what());
  }
  WarnOfUnused(config);
  return config;
}

void GenerationOptions::WarnOfUnused(const GenerationConfig& config) const {
  for (const Field& field : fields_) {
    if (field.parsed->count() == 0 || field.parsed->get_group() == "Length") continue;
    const bool depth = IsDepth(field.option);
    const bool samples = depth ? config.depth_decoder.do_sample : config.do_sample;
    const std::string switch_name = depth ? "--depth-decoder-do-sample" : "--do-sample";
    if (samples || field.option == switch_name) continue;
    Say("{} is not used, since {} is false", field.option, switch_name);
  }
  if (seed_option_->count() > 0 && !config.do_sample && !config.depth_decoder.do_sample) {
    Say("--seed is not used, since nothing is drawn at random");
  }
}

}  // namespace csm::cli

// The command line's spelling of GenerationConfig: --max-new-tokens, --top-k,
// --depth-decoder-top-k, …
#ifndef CSM_CLI_GENERATION_OPTIONS_H_
#define CSM_CLI_GENERATION_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "csm/csm.hpp"

namespace csm::cli {

/// One option for each field that GenerationConfig::visit_fields names; what is given overrides
/// the checkpoint's generation_config.json. Must outlive the parsing of the App.
class GenerationOptions {
 public:
  void AddTo(CLI::App& command);

  /// The checkpoint's config with the given options in place of its values. Throws UsageError if
  /// a value is out of range. Says on standard error which given options have no effect.
  GenerationConfig Apply(GenerationConfig config) const;

  bool IsGiven(const std::string& option) const;

 private:
  void WarnOfUnused(const GenerationConfig& config) const;

  GenerationConfig values_;
  bool greedy_ = false;
  uint64_t seed_ = 0;
  /// In the order of visit_fields: each copies its value of values_ into a config, if given.
  struct Field {
    std::string option;
    CLI::Option* parsed;
    const void* value;  ///< of the field's type, in values_
  };
  std::vector<Field> fields_;
  CLI::Option* seed_option_ = nullptr;
};

}  // namespace csm::cli

#endif  // CSM_CLI_GENERATION_OPTIONS_H_

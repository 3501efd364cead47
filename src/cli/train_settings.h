// The options of csm train: a file, and flags that prevail over it.
#ifndef CSM_CLI_TRAIN_SETTINGS_H_
#define CSM_CLI_TRAIN_SETTINGS_H_

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "base/json.h"
#include "torch/train_options.h"

namespace csm::cli {

/// Must outlive the parsing of the App.
class TrainSettings {
 public:
  void AddTo(CLI::App& command);  ///< --config, and a flag for each field
  /// Defaults, then those of `saved` (a run that is resumed; null: none), then the file's fields,
  /// then the flags. `evaluates`: there is data for it. Throws FileError, FormatError,
  /// ArgumentError, and UsageError for what a flag asks for; also for what would have no effect.
  train::TrainOptions Read(const Json& saved, bool evaluates) const;

 private:
  std::string file_;
  train::TrainOptions flags_;
  std::map<std::string, CLI::Option*, std::less<>> given_;  // by the field's name
};

}  // namespace csm::cli

#endif  // CSM_CLI_TRAIN_SETTINGS_H_

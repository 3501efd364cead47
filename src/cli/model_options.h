// --model, --dtype, --precision, --threads, --device: the options of every subcommand that runs a
// model.
#ifndef CSM_CLI_MODEL_OPTIONS_H_
#define CSM_CLI_MODEL_OPTIONS_H_

#include <CLI/CLI.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "csm/csm.hpp"

namespace csm::cli {

/// An option that takes one of the names of types: f32, f16, bf16, q8_0, q4.
CLI::Option* AddTypeTo(CLI::App& command, const std::string& option, std::string& name,
                       const std::vector<std::string>& names, const std::string& description);
DType ParseDType(const std::string& name);

/// Must outlive the parsing of the App.
class ModelOptions {
 public:
  CLI::Option* AddModelTo(CLI::App& command);  ///< --model
  void AddLoadingTo(CLI::App& command);        ///< --dtype, --precision, --threads
  void AddPrecisionTo(CLI::App& command);      ///< --precision alone
  void AddThreadsTo(CLI::App& command);        ///< --threads alone
  void AddAdapterTo(CLI::App& command);        ///< --adapter
  void AddDeviceTo(CLI::App& command);         ///< --device

  bool IsGiven() const { return !model_.empty(); }  ///< by --model
  /// --model, else the environment's CSM_MODEL, else the model that ships. Throws FileError that
  /// says where was looked.
  std::filesystem::path Dir() const;
  /// What of the model and the adapter is read, none of which may be an output too.
  std::vector<std::filesystem::path> Files() const;
  LoadOptions Load() const;
  std::optional<Precision> GivenPrecision() const;
  Runtime Threads() const { return Runtime(threads_); }
  const std::string& Device() const { return device_; }

 private:
  std::string model_;
  std::string dtype_;
  std::string precision_;
  std::string adapter_;
  std::string device_ = "cpu";
  int threads_ = 0;
};

}  // namespace csm::cli

#endif  // CSM_CLI_MODEL_OPTIONS_H_

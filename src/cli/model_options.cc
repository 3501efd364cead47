#include "cli/model_options.h"

#include <cstdlib>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "checkpoint/model_dir.h"
#include "cli/training_program.h"

namespace csm::cli {
namespace {

/// Where the model that ships is, seen from bin/csm: installed under the same prefix, or in the
/// source tree that holds build/PRESET/bin/csm.
constexpr const char* kShippedVoices[] = {"../share/csm/models/csm-tiny",
                                          "../../../models/csm-tiny"};

std::filesystem::path ShippedVoice() {
  std::error_code error;
  const std::filesystem::path bin =
      std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::string> places;
  for (const char* voice : kShippedVoices) {
    std::filesystem::path dir = (bin / voice).lexically_normal();
    if (std::filesystem::exists(dir / "config.json", error)) return dir;
    places.push_back(dir.string());
  }
  Fail<FileError>(
      "no model was given and no voice is installed in {}: use --model DIR, or set CSM_MODEL",
      fmt::join(places, " or "));
}

/// Of a model or an adapter, by its name. Results that stand in the same folder are none.
bool IsModelFile(const std::filesystem::path& file) {
  const std::string name = file.filename().string(), extension = file.extension().string();
  return extension == ".safetensors" || extension == ".jinja" || extension == ".gguf" ||
         name.ends_with("config.json") || name.ends_with(".index.json") ||
         name == "tokenizer.json" || name == "special_tokens_map.json" || name == "README.md";
}

}  // namespace

DType ParseDType(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "q8_0") return DType::kQ8_0;
  return name == "q4" ? DType::kQ4 : DType::kBF16;
}

CLI::Option* ModelOptions::AddModelTo(CLI::App& command) {
  // A script's empty variable should not mean another model than was meant.
  const auto is_given = [](const std::string& name) {
    return name.empty() ? std::string("no name is given; leave it out for the model that ships")
                        : "";
  };
  return command
      .add_option("--model", model_,
                  "Checkpoint folder, GGUF file, or the name of a model in the Hugging\nFace cache "
                  "(default: the environment's CSM_MODEL, else the model that ships)")
      ->check(is_given, "", "")
      ->type_name("DIR");
}

CLI::Option* AddTypeTo(CLI::App& command, const std::string& option, std::string& name,
                       const std::vector<std::string>& names, const std::string& description) {
  return command.add_option(option, name, description)
      ->type_name(fmt::format("{}", fmt::join(names, "|")))
      ->check(CLI::IsMember(names).description(""));
}

void ModelOptions::AddLoadingTo(CLI::App& command) {
  AddTypeTo(command, "--dtype", dtype_, {"f32", "f16", "bf16", "q8_0", "q4"},
            "Convert the weights (default: as stored)");
  AddPrecisionTo(command);
  AddThreadsTo(command);
}

void ModelOptions::AddPrecisionTo(CLI::App& command) {
  command
      .add_option("--precision", precision_,
                  "exact: activations in f32; fast: rounded to bf16 or int8, as the weights are\n"
                  "(default: fast if the weights are quantized, else exact)")
      ->type_name("exact|fast")
      ->check(CLI::IsMember({"exact", "fast"}).description(""));
}

std::optional<Precision> ModelOptions::GivenPrecision() const {
  if (precision_.empty()) return std::nullopt;
  return precision_ == "fast" ? Precision::kFast : Precision::kExact;
}

void ModelOptions::AddThreadsTo(CLI::App& command) {
  command.add_option("--threads", threads_, "Threads to compute on (default: one per core)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024).description(""));
}

void ModelOptions::AddAdapterTo(CLI::App& command) {
  command
      .add_option("--adapter", adapter_,
                  "LoRA adapter in the peft package's format, added to the weights as they are\n"
                  "loaded (they are f32 then, unless --dtype says otherwise)")
      ->type_name("DIR");
}

void ModelOptions::AddDeviceTo(CLI::App& command) {
  command
      .add_option("--device", device_,
                  "What speaks: this processor; a GPU; or LibTorch on this processor, as on\na GPU "
                  "(default: cpu)")
      ->type_name("cpu|cuda|cuda:N|torch-cpu");
}

std::filesystem::path ModelOptions::Dir() const {
  if (!model_.empty()) return checkpoint::ResolveModelDir(model_);
  const char* from_environment = std::getenv("CSM_MODEL");
  if (from_environment != nullptr && *from_environment != '\0') {
    return checkpoint::ResolveModelDir(from_environment);
  }
  return ShippedVoice();
}

std::vector<std::filesystem::path> ModelOptions::Files() const {
  std::vector<std::filesystem::path> files;
  std::error_code error;  // of what cannot be listed there is a file, or loading says what is wrong
  for (const std::filesystem::path& place : {Dir(), std::filesystem::path(adapter_)}) {
    files.push_back(place);
    for (const auto& entry : std::filesystem::directory_iterator(place, error)) {
      if (IsModelFile(entry.path())) files.push_back(entry.path());
    }
  }
  return files;
}

LoadOptions ModelOptions::Load() const {
  LoadOptions options;
  if (!dtype_.empty()) options.dtype = ParseDType(dtype_);
  options.precision = GivenPrecision();
  options.runtime = Threads();
  options.device = device_;
  if (device_ != "cpu") LimitSpinning();  // before LibTorch is loaded
  if (!adapter_.empty()) options.adapter = adapter_;
  return options;
}

}  // namespace csm::cli

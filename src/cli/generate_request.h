// What `csm generate` is asked to do, read and checked before the weights are loaded.
#ifndef CSM_CLI_GENERATE_REQUEST_H_
#define CSM_CLI_GENERATE_REQUEST_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/generation_options.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/prompt_options.h"
#include "csm/csm.hpp"

namespace csm::cli {

struct GenerateRequest {
  std::filesystem::path dir;
  CsmConfig model_config;
  CsmInputs inputs;
  int64_t prompt_length = 0;  ///< of the longest row
  GenerationConfig config;
  bool is_batch = false;  ///< output files are numbered

  int64_t MaxFrames() const;  ///< of a sequence, by HF's rules
  int SamplingRate() const { return static_cast<int>(model_config.codec_config.sampling_rate); }
  bool Draws() const { return config.do_sample || config.depth_decoder.do_sample; }
};

/// The options of `csm generate`. Must outlive the parsing of the App.
class GenerateOptions {
 public:
  void AddTo(CLI::App& command);

  /// Throws UsageError, FileError, FormatError, ArgumentError for anything that is known to be
  /// wrong before generating, unwritable outputs and too long prompts included.
  GenerateRequest Read() const;

  const AudioOptions& audio() const { return audio_; }
  const std::string& codes() const { return codes_; }  ///< empty: not given
  const std::string& timing_json() const { return timing_json_; }
  bool quiet() const { return quiet_; }
  LoadOptions Load() const { return model_.Load(); }

 private:
  void CheckUsage() const;
  void CheckTargets(const GenerateRequest& request,
                    const std::vector<Conversation>& conversations) const;
  void FitToPositions(GenerateRequest& request) const;

  CsmInputs ReadInputs(const GenerateRequest& request,
                       const std::vector<Conversation>& conversations) const;

  ModelOptions model_;
  PromptOptions prompt_;
  GenerationOptions generation_;
  AudioOptions audio_;
  std::string voice_;
  std::string codes_;
  std::string timing_json_;
  bool parse_special_ = false;
  bool quiet_ = false;
};

}  // namespace csm::cli

#endif  // CSM_CLI_GENERATE_REQUEST_H_

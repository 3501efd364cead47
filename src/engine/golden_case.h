// Tests only: the cases under tests/goldens, see README.md there.
#ifndef CSM_ENGINE_GOLDEN_CASE_H_
#define CSM_ENGINE_GOLDEN_CASE_H_

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "csm/csm.hpp"

namespace csm::engine {

/// A scenario of a golden checkpoint: DIR/NAME/{conversation,reference}.json.
struct GoldenCase {
  std::filesystem::path model_dir;
  std::string scenario;
  std::string Name() const { return model_dir.filename().string() + "/" + scenario; }
  std::filesystem::path dir() const { return model_dir / scenario; }
};

inline std::filesystem::path GoldenModel(const std::string& name) {
  return std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens" / name;
}

inline std::vector<GoldenCase> AllGoldenCases() {
  std::vector<GoldenCase> cases;
  const auto root = std::filesystem::path(CSM_TEST_DATA_DIR) / "goldens";
  for (const auto& file : std::filesystem::recursive_directory_iterator(root)) {
    if (file.path().filename() != "reference.json") continue;
    const auto dir = file.path().parent_path();
    cases.push_back({dir.parent_path(), dir.filename().string()});
  }
  std::sort(cases.begin(), cases.end(),
            [](const GoldenCase& a, const GoldenCase& b) { return a.Name() < b.Name(); });
  return cases;
}

/// Both samplers off, `max_new_tokens` frames.
inline GenerationConfig Greedy(const CsmForConditionalGeneration& model, int64_t max_new_tokens) {
  GenerationConfig config = model.generation_config();
  config.do_sample = config.depth_decoder.do_sample = false;
  config.max_new_tokens = max_new_tokens;
  return config;
}

/// Both samplers on, with a seed.
inline GenerationConfig Sampling(const CsmForConditionalGeneration& model, int64_t frames) {
  GenerationConfig config = model.generation_config();
  config.do_sample = config.depth_decoder.do_sample = true;
  config.max_new_tokens = frames;
  config.seed = 42;
  return config;
}

/// [rows, length] with the padded positions (attention_mask 0) left out.
inline std::vector<std::vector<int32_t>> Unpadded(const Json& values, const Json& mask) {
  std::vector<std::vector<int32_t>> rows(values.size());
  for (size_t r = 0; r < values.size(); ++r) {
    for (size_t i = 0; i < values[r].size(); ++i) {
      if (mask[r][i].get<int>() != 0) rows[r].push_back(values[r][i].get<int32_t>());
    }
  }
  return rows;
}

}  // namespace csm::engine

#endif  // CSM_ENGINE_GOLDEN_CASE_H_

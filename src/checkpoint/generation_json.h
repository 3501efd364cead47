// generation_config.json as HF's CSM reads and writes it.
#ifndef CSM_CHECKPOINT_GENERATION_JSON_H_
#define CSM_CHECKPOINT_GENERATION_JSON_H_

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/json.h"
#include "csm/csm.hpp"

namespace csm::checkpoint {

/// Reads DIR/generation_config.json, defaults if there is none. With `num_codebooks`, also checks
/// that the depth decoder's length is that of a frame. Settings that HF's CSM rejects or that
/// would change its results and are not supported here throw FormatError with the reason.
GenerationConfig ReadGenerationConfig(const std::filesystem::path& dir,
                                      std::optional<int64_t> num_codebooks = std::nullopt);
GenerationConfig ParseGenerationConfig(const Json& json, const std::string& file,
                                       std::optional<int64_t> num_codebooks = std::nullopt);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_GENERATION_JSON_H_

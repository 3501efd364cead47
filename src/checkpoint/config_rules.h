// What a config must satisfy for a model to be built from it.
#ifndef CSM_CHECKPOINT_CONFIG_RULES_H_
#define CSM_CHECKPOINT_CONFIG_RULES_H_

#include <cstdint>
#include <string>

#include "csm/csm.hpp"

namespace csm::checkpoint {

/// Throw FormatError naming `file`, the key, what was found and what was expected. A config that
/// passes has sizes whose products fit 64 bits, and tensor lists of bounded length.
void CheckConfig(const CsmConfig& config, const std::string& file);
void CheckConfig(const MimiConfig& config, const std::string& file, const std::string& prefix = {});

/// Transformer steps per frame of a checked codec, e.g. 2: the stride of its downsampling. HF's
/// formula, int(ceil(steps per second) / frame rate).
int64_t LatentStride(const MimiConfig& config);

/// Frames per second of the codec unless its config says otherwise: the transformer's rate halved.
double DerivedFrameRate(const MimiConfig& config);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_CONFIG_RULES_H_

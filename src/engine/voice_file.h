// The file of a voice: safetensors with metadata, see docs/formats.md.
#ifndef CSM_ENGINE_VOICE_FILE_H_
#define CSM_ENGINE_VOICE_FILE_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "csm/csm.hpp"

namespace csm::engine {

inline constexpr char kVoiceFormat[] = "csm-voice";
inline constexpr char kVoiceVersion[] = "1";

/// A whole file in memory, checked as far as that goes without the model; nothing points into it
/// afterwards. Throws FormatError that names `source`.
std::shared_ptr<const Voice::Impl> ParseVoice(std::span<const std::byte> file,
                                              std::string_view source);

}  // namespace csm::engine

#endif  // CSM_ENGINE_VOICE_FILE_H_

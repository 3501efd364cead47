// Any bytes as a voice: read, or refused with an Error that names the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>

#include "engine/voice_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const csm::Voice voice(
        csm::engine::ParseVoice(std::as_bytes(std::span(data, size)), "a.voice"));
    if (voice.info().num_positions < 1 || voice.conversation().empty()) std::abort();
  } catch (const csm::Error& error) {
    if (std::string_view(error.what()).find("a.voice") == std::string_view::npos) std::abort();
  }
  return 0;
}

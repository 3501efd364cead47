// Any bytes as a conversation file: read, or refused with an Error that names the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "text/conversation.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  try {
    const auto file = csm::text::ParseConversations(json, "c.json");
    for (const csm::Conversation& conversation : file.conversations) {
      for (const csm::Message& message : conversation) csm::text::ReadTurn(message);
    }
  } catch (const csm::Error& error) {
    if (std::string_view(error.what()).find("c.json") == std::string_view::npos) std::abort();
  }
  return 0;
}

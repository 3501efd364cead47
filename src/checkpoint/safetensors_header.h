// The JSON header of a safetensors file.
#ifndef CSM_CHECKPOINT_SAFETENSORS_HEADER_H_
#define CSM_CHECKPOINT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace csm::checkpoint {

/// One tensor as the header states it, nothing checked but JSON types.
struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  ///< data_offsets, relative to the end of the header
  uint64_t end = 0;
};

/// `__metadata__`: strings by name.
using SafetensorsMetadata = std::map<std::string, std::string, std::less<>>;

/// A tensor's name in quotes for messages: cut if a hostile file made it long, control characters
/// as \\xNN.
std::string QuoteName(std::string_view name);

/// Parses the header in one pass without building a JSON tree: memory is bounded by the entries,
/// nesting deeper than the format's is refused at once, and time is linear. Entries keep the
/// header's order; `__metadata__` is checked (strings to strings) and dropped, unless `metadata` is
/// given. Throws FormatError that starts with `source`.
std::vector<HeaderEntry> ParseSafetensorsHeader(std::string_view json, std::string_view source,
                                                SafetensorsMetadata* metadata = nullptr);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_SAFETENSORS_HEADER_H_

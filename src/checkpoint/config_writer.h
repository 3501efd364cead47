// Writes the public config structs as JSON through their visit_fields.
#ifndef CSM_CHECKPOINT_CONFIG_WRITER_H_
#define CSM_CHECKPOINT_CONFIG_WRITER_H_

#include <filesystem>
#include <string_view>

#include "base/json.h"
#include "csm/csm.hpp"

namespace csm::checkpoint {

/// The spelling of transformers 5. Derived values are written as transformers does: a frame rate
/// that follows from the other fields as null, plain RoPE as theta alone.
Json ToJson(const CsmConfig& config);
Json ToJson(const MimiConfig& config);
/// Only the fields that differ from HF's defaults, as HF does.
Json ToJson(const GenerationConfig& config);

/// Adds the keys of `original` that `json` lacks, at every level, so that a file read and written
/// again keeps what this library does not know; transformers 4's spellings of what `json` has are
/// left out.
void KeepUnknownKeys(const Json& original, Json& json);

/// Makes a folder and its parents. Throws FileError.
void MakeFolder(const std::filesystem::path& dir);

/// Writes DIR/NAME atomically, keys sorted as transformers sorts them; makes DIR if need be.
/// Throws FileError.
void WriteConfigJson(const std::filesystem::path& dir, std::string_view name, const Json& json);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_CONFIG_WRITER_H_

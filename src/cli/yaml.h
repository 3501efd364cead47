// YAML files as JSON.
#ifndef CSM_CLI_YAML_H_
#define CSM_CLI_YAML_H_

#include <filesystem>

#include "base/json.h"

namespace csm::cli {

/// Plain scalars are what YAML 1.2 says: null, true, false, whole and other numbers (1e-4 too), or
/// text. Throws FileError, FormatError with the line.
Json ParseYamlFile(const std::filesystem::path& file);

}  // namespace csm::cli

#endif  // CSM_CLI_YAML_H_

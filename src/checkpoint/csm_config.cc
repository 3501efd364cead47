#include <filesystem>

#include "checkpoint/config_reader.h"
#include "checkpoint/json_file.h"
#include "csm/csm.hpp"

namespace csm {

CsmConfig CsmConfig::from_pretrained(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / "config.json";
  return checkpoint::ParseCsmConfig(checkpoint::ReadConfigJson(path), path.string());
}

}  // namespace csm

// Any text as config.json and generation_config.json: refused with a FormatError, or a config whose
// tensors can be listed and that is the same after writing and reading it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "checkpoint/config_reader.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/generation_json.h"
#include "checkpoint/json_file.h"

namespace {

using namespace csm;
using namespace csm::checkpoint;

template <typename Parse>
void Try(const Parse& parse) {
  try {
    parse();
  } catch (const FormatError&) {
  }
}

void RoundTrip(const CsmConfig& config) {
  for (const TensorSpec& spec : CsmTensors(config)) {
    for (const int64_t dimension : spec.shape) {
      if (dimension < 1) std::abort();
    }
  }
  if (!(ParseCsmConfig(ToJson(config), "again") == config)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > kMaxConfigBytes) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Try([&] {
    const Json json = ParseConfigJson(text, "input");
    Try([&] { RoundTrip(ParseCsmConfig(json, "input")); });
    Try([&] { MimiTensors(ParseMimiConfig(json, "input"), ""); });
    Try([&] {
      const GenerationConfig config = ParseGenerationConfig(json, "input", 32);
      if (!(ParseGenerationConfig(ToJson(config), "again") == config)) std::abort();
    });
  });
  return 0;
}

#include "checkpoint/config_writer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <system_error>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/config_rules.h"

namespace csm::checkpoint {
namespace {

// The visitor; `prefix` is that of flattened keys ("depth_decoder_").
class FieldWriter {
 public:
  explicit FieldWriter(Json& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}

  template <typename Value>
  void operator()(std::string_view key, const Value& field) const {
    object_[prefix_ + std::string(key)] = field;
  }
  template <typename Value>
  void operator()(std::string_view key, const std::optional<Value>& field) const {
    object_[prefix_ + std::string(key)] = field ? Json(*field) : Json(nullptr);
  }
  void operator()(std::string_view key, const RopeParameters& rope) const {
    Json dict = Json::object();
    if (rope.rope_type == "default") {
      dict["rope_type"] = rope.rope_type;
      dict["rope_theta"] = rope.rope_theta;
    } else {
      RopeParameters::visit_fields(rope, FieldWriter(dict));
    }
    object_[std::string(key)] = std::move(dict);
  }
  void operator()(std::string_view key, const CsmDepthDecoderConfig& config) const {
    Json dict = Json::object();
    dict["model_type"] = "csm_depth_decoder_model";
    CsmDepthDecoderConfig::visit_fields(config, FieldWriter(dict));
    object_[std::string(key)] = std::move(dict);
  }
  void operator()(std::string_view key, const MimiConfig& config) const {
    object_[std::string(key)] = ToJson(config);
  }
  void operator()(std::string_view key, const SamplingConfig& config) const {
    SamplingConfig::visit_fields(config, FieldWriter(object_, std::string(key)));
  }

 private:
  Json& object_;
  std::string prefix_;
};

// Keys of transformers 4 that a config of transformers 5 spells otherwise.
bool IsLegacySpelling(std::string_view key) {
  constexpr std::array<std::string_view, 6> kLegacy = {"rope_theta",  "rope_scaling",
                                                       "torch_dtype", "codebook_size",
                                                       "frame_rate",  "transformers_weights"};
  return std::find(kLegacy.begin(), kLegacy.end(), key) != kLegacy.end();
}

// nlohmann's other JSON type keeps keys sorted, as transformers writes them.
nlohmann::json Sorted(const Json& json) { return nlohmann::json::parse(json.dump()); }

}  // namespace

Json ToJson(const MimiConfig& config) {
  Json json = Json::object();
  json["model_type"] = "mimi";
  MimiConfig::visit_fields(config, FieldWriter(json));
  if (config.frame_rate == DerivedFrameRate(config)) json["_frame_rate"] = nullptr;
  return json;
}

Json ToJson(const CsmConfig& config) {
  Json json = Json::object();
  json["architectures"] = Json::array({"CsmForConditionalGeneration"});
  json["model_type"] = "csm";
  CsmConfig::visit_fields(config, FieldWriter(json));
  json["tie_word_embeddings"] = config.tie_codebooks_embeddings;  // HF's name for the same
  return json;
}

Json ToJson(const GenerationConfig& config) {
  Json json = Json::object();
  Json defaults = Json::object();
  GenerationConfig::visit_fields(config, FieldWriter(json));
  const GenerationConfig default_config;
  GenerationConfig::visit_fields(default_config, FieldWriter(defaults));
  Json changed = Json::object();
  for (const auto& [key, value] : json.items()) {
    if (value != defaults[key]) changed[key] = value;
  }
  return changed;
}

void KeepUnknownKeys(const Json& original, Json& json) {
  for (const auto& [key, value] : original.items()) {
    const auto found = json.find(key);
    if (found == json.end()) {
      if (!IsLegacySpelling(key)) json[key] = value;
    } else if (value.is_object() && found->is_object() && key != "rope_parameters") {
      KeepUnknownKeys(value, *found);
    }
  }
}

void MakeFolder(const std::filesystem::path& dir) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  if (error) Fail<FileError>("cannot make the folder {}: {}", dir.string(), error.message());
}

void WriteConfigJson(const std::filesystem::path& dir, std::string_view name, const Json& json) {
  MakeFolder(dir);
  WriteFileAtomically(dir / name, Sorted(json).dump(2) + "\n");
}

}  // namespace csm::checkpoint

namespace csm {

void CsmConfig::save_pretrained(const std::filesystem::path& dir) const {
  checkpoint::CheckConfig(*this, (dir / "config.json").string());
  checkpoint::WriteConfigJson(dir, "config.json", checkpoint::ToJson(*this));
}

}  // namespace csm

#include "checkpoint/config_reader.h"

#include "base/error.h"
#include "checkpoint/config_rules.h"
#include "checkpoint/json_file.h"
#include "checkpoint/model_dir.h"

namespace csm::checkpoint {
namespace {

std::string Shown(const Json& value) {
  if (value.is_structured()) return std::string(JsonTypeName(value));
  constexpr size_t kMaxShown = 60;
  const std::string text = value.dump();
  return text.size() <= kMaxShown ? text : std::string(JsonTypeName(value));
}

// Fields that HF derives when they are null or absent, and spellings of older versions.
void FinishLlama(const FieldReader& reader, LlamaConfig& config) {
  // HF's attribute_map: "codebook_size" is another name of vocab_size, and wins if both are there.
  reader("codebook_size", config.vocab_size);
  // Absent, it keeps its default; null means one key-value head per query head.
  if (reader.IsNull("num_key_value_heads")) config.num_key_value_heads = config.num_attention_heads;
  if (!reader.Has("head_dim") && config.num_attention_heads > 0) {
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  RopeParameters& rope = config.rope_parameters;
  if (rope.rope_type == "llama3" && rope.original_max_position_embeddings == 0) {
    rope.original_max_position_embeddings = config.max_position_embeddings;
  }
}

void FinishMimi(const FieldReader& reader, MimiConfig& config) {
  if (config.upsampling_ratios.empty()) config.upsampling_ratios = MimiConfig().upsampling_ratios;
  if (reader.IsNull("codebook_dim")) config.codebook_dim = config.hidden_size;
  if ((!reader.Has("head_dim") || config.head_dim == 0) && config.num_attention_heads > 0) {
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  // transformers 4 wrote frame_rate, 5 writes _frame_rate, and a null _frame_rate beats the former.
  if (!reader.Has("_frame_rate")) {
    config.frame_rate = DerivedFrameRate(config);
    if (!reader.IsNull("_frame_rate")) reader("frame_rate", config.frame_rate);
  }
}

void CheckModelType(const FieldReader& reader, std::string_view expected) {
  std::string model_type(expected);
  reader("model_type", model_type);
  if (model_type != expected) {
    Fail<FormatError>("{} is \"{:.60}\", expected \"{}\"", reader.place()("model_type"), model_type,
                      expected);
  }
}

// HF lets a Mimi checkpoint drop a half by a null; nothing here can use what is left.
void CheckMimiHalves(const FieldReader& reader) {
  for (const char* half : {"encoder_config", "decoder_config"}) {
    if (reader.IsNull(half)) {
      Fail<FormatError>("{} is null: the codec lacks that half, expected a whole codec",
                        reader.place()(half));
    }
  }
}

}  // namespace

std::string FieldPlace::operator()(std::string_view key) const {
  return fmt::format("{}: {}{}", file, prefix, key);
}

const Json* FieldReader::Find(std::string_view key) const {
  const auto found = object_.find(key_prefix_ + std::string(key));
  return found == object_.end() ? nullptr : &*found;
}

bool FieldReader::Has(std::string_view key) const {
  const Json* value = Find(key);
  return value != nullptr && !value->is_null();
}

bool FieldReader::IsNull(std::string_view key) const {
  const Json* value = Find(key);
  return value != nullptr && value->is_null();
}

int64_t FieldReader::Integer(std::string_view key, const Json& value) const {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= INT64_MAX);
  if (!fits) {
    Fail<FormatError>("{} is {}, expected an integer", place_(key_prefix_ + std::string(key)),
                      Shown(value));
  }
  return value.get<int64_t>();
}

double FieldReader::Number(std::string_view key, const Json& value) const {
  if (!value.is_number()) {
    Fail<FormatError>("{} is {}, expected a number", place_(key_prefix_ + std::string(key)),
                      Shown(value));
  }
  return value.get<double>();
}

const Json* FieldReader::Object(std::string_view key) const {
  if (!Has(key)) return nullptr;
  const Json& value = *Find(key);
  if (!value.is_object()) {
    Fail<FormatError>("{} is {}, expected an object", place_(key), Shown(value));
  }
  return &value;
}

void FieldReader::operator()(std::string_view key, int64_t& field) const {
  if (Has(key)) field = Integer(key, *Find(key));
}

void FieldReader::operator()(std::string_view key, double& field) const {
  if (Has(key)) field = Number(key, *Find(key));
}

void FieldReader::operator()(std::string_view key, bool& field) const {
  if (!Has(key)) return;
  const Json& value = *Find(key);
  if (!value.is_boolean()) {
    Fail<FormatError>("{} is {}, expected true or false", place_(key_prefix_ + std::string(key)),
                      Shown(value));
  }
  field = value.get<bool>();
}

void FieldReader::operator()(std::string_view key, std::string& field) const {
  if (!Has(key)) return;
  const Json& value = *Find(key);
  if (!value.is_string()) {
    Fail<FormatError>("{} is {}, expected a string", place_(key), Shown(value));
  }
  field = value.get<std::string>();
}

void FieldReader::operator()(std::string_view key, std::vector<int64_t>& field) const {
  if (!Has(key)) return;
  const Json& value = *Find(key);
  if (!value.is_array()) {
    Fail<FormatError>("{} is {}, expected a list of integers", place_(key), Shown(value));
  }
  field.clear();
  for (const Json& element : value) field.push_back(Integer(key, element));
}

void FieldReader::operator()(std::string_view key, std::optional<int64_t>& field) const {
  const Json* value = Find(key);
  if (value == nullptr) return;
  if (value->is_null()) {
    field.reset();
  } else if (key == "eos_token_id" && value->is_array() && !value->empty()) {
    field = Integer(key, value->front());  // HF allows a list; CSM's stop rule reads none of them
  } else {
    field = Integer(key, *value);
  }
}

void FieldReader::operator()(std::string_view key, std::optional<double>& field) const {
  const Json* value = Find(key);
  if (value == nullptr) return;
  if (value->is_null()) {
    field.reset();
  } else {
    field = Number(key, *value);
  }
}

void FieldReader::operator()(std::string_view key, std::optional<std::string>& field) const {
  const Json* value = Find(key);
  if (value == nullptr) return;
  field.reset();
  if (!value->is_null()) (*this)(key, field.emplace());
}

// HF's order of precedence: a non-empty `rope_scaling` (transformers 4) replaces `rope_parameters`
// (5); a theta inside the dict beats `rope_theta` beside it; without a dict RoPE is plain.
void FieldReader::operator()(std::string_view key, RopeParameters& field) const {
  (*this)("rope_theta", field.rope_theta);
  const Json* scaling = Object("rope_scaling");
  const bool is_legacy = scaling != nullptr && !scaling->empty();
  const std::string name(is_legacy ? std::string_view("rope_scaling") : key);
  const Json* dict = is_legacy ? scaling : Object(key);
  if (dict == nullptr) return;
  const FieldReader inner(*dict, {place_.file, place_.prefix + name + "."});
  inner("rope_theta", field.rope_theta);
  inner("type", field.rope_type);  // the key's name before transformers 4.43
  inner("rope_type", field.rope_type);
  if (field.rope_type != "llama3") return;  // config_rules.h refuses what is unknown
  for (const char* needed : {"factor", "low_freq_factor", "high_freq_factor"}) {
    if (!inner.Has(needed)) {
      Fail<FormatError>("{} is missing, expected a number for rope_type \"llama3\"",
                        inner.place()(needed));
    }
  }
  RopeParameters::visit_fields(field, inner);
  double partial_rotary_factor = 1;
  (*this)("partial_rotary_factor", partial_rotary_factor);
  inner("partial_rotary_factor", partial_rotary_factor);
  if (partial_rotary_factor != 1) {
    Fail<FormatError>("{} is {}, expected 1: heads are rotated whole",
                      inner.place()("partial_rotary_factor"), partial_rotary_factor);
  }
}

void FieldReader::operator()(std::string_view key, CsmDepthDecoderConfig& field) const {
  static const Json kEmpty = Json::object();
  const Json* object = Object(key);
  const FieldReader inner(object == nullptr ? kEmpty : *object,
                          {place_.file, place_.prefix + std::string(key) + "."});
  CsmDepthDecoderConfig::visit_fields(field, inner);
  FinishLlama(inner, field);
}

void FieldReader::operator()(std::string_view key, MimiConfig& field) const {
  static const Json kEmpty = Json::object();
  const Json* object = Object(key);
  const FieldReader inner(object == nullptr ? kEmpty : *object,
                          {place_.file, place_.prefix + std::string(key) + "."});
  CheckModelType(inner, "mimi");
  CheckMimiHalves(inner);
  MimiConfig::visit_fields(field, inner);
  FinishMimi(inner, field);
}

void FieldReader::operator()(std::string_view key, SamplingConfig& field) const {
  SamplingConfig::visit_fields(field, FieldReader(object_, place_, key_prefix_ + std::string(key)));
}

CsmConfig ParseCsmConfig(const Json& json, const std::string& file) {
  const FieldReader reader(json, {file});
  if (reader.Has("backbone_flavor")) {
    Fail<FormatError>(
        "{} is of Sesame's original layout, expected the layout of Hugging Face transformers "
        "(model_type \"csm\")",
        file);
  }
  CheckModelType(reader, "csm");
  CsmConfig config;
  CsmConfig::visit_fields(config, reader);
  FinishLlama(reader, config);
  if (reader.IsNull("tie_codebooks_embeddings")) config.tie_codebooks_embeddings = false;
  CheckConfig(config, file);
  return config;
}

MimiConfig ParseMimiConfig(const Json& json, const std::string& file) {
  const FieldReader reader(json, {file});
  CheckModelType(reader, "mimi");
  CheckMimiHalves(reader);
  MimiConfig config;
  MimiConfig::visit_fields(config, reader);
  FinishMimi(reader, config);
  CheckConfig(config, file);
  return config;
}

}  // namespace csm::checkpoint

namespace csm {

CsmConfig CsmConfig::from_pretrained(const std::filesystem::path& dir) {
  const std::filesystem::path folder = checkpoint::ResolveModelDir(dir);
  const std::filesystem::path path = folder / "config.json";
  std::error_code error;
  // Sesame's weights may come without one; this says so, which is more than "no such file".
  if (!std::filesystem::exists(path, error) &&
      std::filesystem::exists(folder / "model.safetensors", error)) {
    checkpoint::OpenTensors(folder);
  }
  return checkpoint::ParseCsmConfig(checkpoint::ReadConfigJson(path), path.string());
}

}  // namespace csm

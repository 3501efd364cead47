// Reads JSON objects into the public config structs through their visit_fields.
#ifndef CSM_CHECKPOINT_CONFIG_READER_H_
#define CSM_CHECKPOINT_CONFIG_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "csm/csm.hpp"

namespace csm::checkpoint {

/// Where a field stands, for messages: "DIR/config.json: codec_config.head_dim".
struct FieldPlace {
  std::string file;
  std::string prefix = {};  ///< "" or "codec_config."

  std::string operator()(std::string_view key) const;
};

/// A visitor for visit_fields: a key that is absent or null leaves the field at its default, an
/// optional that is null becomes empty, a value of the wrong type throws FormatError.
class FieldReader {
 public:
  FieldReader(const Json& object, FieldPlace place, std::string key_prefix = {})
      : object_(object), place_(std::move(place)), key_prefix_(std::move(key_prefix)) {}

  void operator()(std::string_view key, int64_t& field) const;
  void operator()(std::string_view key, double& field) const;
  void operator()(std::string_view key, bool& field) const;
  void operator()(std::string_view key, std::string& field) const;
  void operator()(std::string_view key, std::vector<int64_t>& field) const;
  void operator()(std::string_view key, std::optional<int64_t>& field) const;
  void operator()(std::string_view key, std::optional<double>& field) const;
  void operator()(std::string_view key, std::optional<std::string>& field) const;
  void operator()(std::string_view key, RopeParameters& field) const;
  void operator()(std::string_view key, CsmDepthDecoderConfig& field) const;
  void operator()(std::string_view key, MimiConfig& field) const;
  /// Flattened: `key` is the prefix of each of its keys.
  void operator()(std::string_view key, SamplingConfig& field) const;

  bool Has(std::string_view key) const;     ///< present and not null
  bool IsNull(std::string_view key) const;  ///< present and null
  const FieldPlace& place() const { return place_; }

 private:
  const Json* Find(std::string_view key) const;
  int64_t Integer(std::string_view key, const Json& value) const;
  double Number(std::string_view key, const Json& value) const;
  const Json* Object(std::string_view key) const;

  const Json& object_;
  FieldPlace place_;
  std::string key_prefix_;
};

/// Configs as HF reads them: the spellings of transformers 4 and 5, derived fields filled in, then
/// checked by config_rules.h. `file` is named in messages. Throw FormatError.
CsmConfig ParseCsmConfig(const Json& json, const std::string& file);
MimiConfig ParseMimiConfig(const Json& json, const std::string& file);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_CONFIG_READER_H_

#include "cli/yaml.h"

#include <yaml-cpp/yaml.h>

#include <string>

#include "base/atomic_file.h"
#include "base/error.h"

namespace csm::cli {
namespace {

constexpr int kMaxDepth = 32;  // an alias may hold itself
constexpr size_t kMaxBytes = size_t{1} << 20;

Json ScalarToJson(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // in quotes
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (int64_t whole = 0; YAML::convert<int64_t>::decode(node, whole)) return whole;
  if (double number = 0; YAML::convert<double>::decode(node, number)) return number;
  return text;
}

Json ToJson(const YAML::Node& node, const std::string& file, int depth) {
  if (depth > kMaxDepth)
    Fail<FormatError>("{}, line {}: lists are nested more than {} deep", file, node.Mark().line + 1,
                      kMaxDepth);
  switch (node.Type()) {
    case YAML::NodeType::Sequence: {
      Json list = Json::array();
      for (const YAML::Node& item : node) list.push_back(ToJson(item, file, depth + 1));
      return list;
    }
    case YAML::NodeType::Map: {
      Json object = Json::object();
      for (const auto& item : node) {
        if (!item.first.IsScalar()) {
          Fail<FormatError>("{}, line {}: a key should be a name", file,
                            item.first.Mark().line + 1);
        }
        const std::string& key = item.first.Scalar();
        if (object.contains(key)) {
          Fail<FormatError>("{}, line {}: {} is there twice", file, item.first.Mark().line + 1,
                            key);
        }
        object[key] = ToJson(item.second, file, depth + 1);
      }
      return object;
    }
    case YAML::NodeType::Scalar:
      return ScalarToJson(node);
    default:
      return nullptr;
  }
}

}  // namespace

Json ParseYamlFile(const std::filesystem::path& file) {
  try {
    return ToJson(YAML::Load(ReadFile(file, kMaxBytes)), file.string(), 0);
  } catch (const YAML::Exception& error) {
    Fail<FormatError>("{}, line {}: {}", file.string(), error.mark.line + 1, error.msg);
  }
}

}  // namespace csm::cli

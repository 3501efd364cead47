#include "cli/yaml.h"

#include <yaml-cpp/yaml.h>

#include <string>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"

namespace csm::cli {
namespace {

constexpr int kMaxDepth = 32;
constexpr int kMaxNodes = 10'000;
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

class Converter {
 public:
  explicit Converter(const std::filesystem::path& file) : file_(file.string()) {}

  Json ToJson(const YAML::Node& node, int depth = 0) {
    // Aliases let a few lines stand for any number of nodes.
    if (depth > kMaxDepth || ++num_nodes_ > kMaxNodes) {
      FailAt(node, fmt::format("more than {} values, or lists in lists deeper than {}", kMaxNodes,
                               kMaxDepth));
    }
    switch (node.Type()) {
      case YAML::NodeType::Sequence: {
        Json list = Json::array();
        for (const YAML::Node& item : node) list.push_back(ToJson(item, depth + 1));
        return list;
      }
      case YAML::NodeType::Map: {
        Json object = Json::object();
        for (const auto& item : node) {
          if (!item.first.IsScalar()) FailAt(item.first, "a key should be a name");
          const std::string& key = item.first.Scalar();
          if (object.contains(key)) FailAt(item.first, key + " is there twice");
          object[key] = ToJson(item.second, depth + 1);
        }
        return object;
      }
      case YAML::NodeType::Scalar:
        return ScalarToJson(node);
      default:
        return nullptr;
    }
  }

 private:
  [[noreturn]] void FailAt(const YAML::Node& node, const std::string& what) const {
    Fail<FormatError>("{}, line {}: {}", file_, node.Mark().line + 1, what);
  }

  std::string file_;
  int num_nodes_ = 0;
};

}  // namespace

Json ParseYamlFile(const std::filesystem::path& file) {
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(ReadFile(file, kMaxBytes));
    if (documents.size() > 1) {
      Fail<FormatError>("{} holds {} documents (---); it should be one", file.string(),
                        documents.size());
    }
    return documents.empty() ? Json() : Converter(file).ToJson(documents[0]);
  } catch (const YAML::Exception& error) {
    Fail<FormatError>("{}, line {}: {}", file.string(), error.mark.line + 1, error.msg);
  }
}

}  // namespace csm::cli

#include "base/json.h"

#include "base/atomic_file.h"
#include "base/error.h"

namespace csm {
namespace {

// Real configs nest 4 deep; the limit keeps recursion over hostile files small.
constexpr int kMaxDepth = 100;

}  // namespace

Json ParseJson(std::string_view text, std::string_view source) {
  const auto check_depth = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) {
      Fail<FormatError>("{} is nested more than {} levels deep", source, kMaxDepth);
    }
    return true;
  };
  try {
    return Json::parse(text, check_depth);
  } catch (const nlohmann::json::exception& error) {
    // "[json.exception.parse_error.101] parse error at …": the tag helps nobody.
    std::string_view what = error.what();
    if (const size_t tag = what.find("] "); tag != std::string_view::npos)
      what.remove_prefix(tag + 2);
    Fail<FormatError>("{} is not valid JSON: {}", source, what);
  }
}

Json ParseJsonFile(const std::filesystem::path& path) {
  return ParseJson(ReadFile(path), path.string());
}

std::string_view JsonTypeName(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a number";
    default:
      return "unreadable";
  }
}

}  // namespace csm

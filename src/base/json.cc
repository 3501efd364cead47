#include "base/json.h"

#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"

namespace csm {
namespace {

// Real configs nest 4 deep.
constexpr size_t kMaxDepth = 100;

/// Reads without building anything, to judge a text before it is parsed. A callback given to
/// Json::parse could do it in one pass, but then each element of a list costs a walk over the list.
class Judge : public nlohmann::json_sax<Json> {
 public:
  Judge(std::string_view source, size_t max_keys) : source_(source), max_keys_(max_keys) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_unsigned(uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool start_object(size_t) override { return Open(); }
  bool start_array(size_t) override { return Open(); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(std::string&) override {
    if (++num_keys_.back() > max_keys_) {
      Fail<FormatError>("{} has an object with more than {} keys", source_, max_keys_);
    }
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    Fail<FormatError>("{} is not valid JSON: {}", source_, SyntaxError(error));
  }

 private:
  bool Open() {
    num_keys_.push_back(0);
    if (num_keys_.size() > kMaxDepth) {
      Fail<FormatError>("{} is nested more than {} levels deep", source_, kMaxDepth);
    }
    return true;
  }
  bool Close() {
    num_keys_.pop_back();
    return true;
  }

  std::string_view source_;
  size_t max_keys_;
  std::vector<size_t> num_keys_;  // of each open object (0 for lists)
};

}  // namespace

Json ParseJson(std::string_view text, std::string_view source, size_t max_keys) {
  Judge judge(source, max_keys);
  try {
    Json::sax_parse(text, &judge);
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {  // a number too large for a double
    Fail<FormatError>("{} is not valid JSON: {}", source, SyntaxError(error));
  }
}

Json ParseJsonFile(const std::filesystem::path& path) {
  return ParseJson(ReadFile(path), path.string());
}

std::string_view SyntaxError(const nlohmann::json::exception& error) {
  // "[json.exception.parse_error.101] parse error at …": the tag helps nobody.
  std::string_view what = error.what();
  if (const size_t tag = what.find("] "); tag != what.npos) what.remove_prefix(tag + 2);
  return what;
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

#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace csm::checkpoint {
namespace {

// Receives nlohmann's parse events. The header is an object of objects:
//   {"__metadata__": {"format": "pt"},
//    "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
class HeaderHandler final : public nlohmann::json_sax<Json> {
 public:
  HeaderHandler(std::string_view source, SafetensorsMetadata* metadata)
      : source_(source), metadata_(metadata) {}

  std::vector<HeaderEntry> TakeEntries() { return std::move(entries_); }

  bool start_object(std::size_t) override {
    if (state_ == State::kStart) {
      state_ = State::kTop;
    } else if (state_ == State::kTopValue) {
      state_ = in_metadata_ ? State::kMetadata : State::kTensor;
    } else {
      Unexpected("an object");
    }
    return true;
  }

  bool key(string_t& key) override {
    switch (state_) {
      case State::kTop:
        in_metadata_ = key == "__metadata__";
        if (!in_metadata_) entries_.push_back({.name = std::move(key)});
        has_dtype_ = has_shape_ = has_offsets_ = false;
        state_ = State::kTopValue;
        break;
      case State::kMetadata:
        if (metadata_ != nullptr) metadata_key_ = std::move(key);
        state_ = State::kMetadataValue;
        break;
      default:
        StartField(key);
    }
    return true;
  }

  bool end_object() override {
    if (state_ == State::kTensor && !(has_dtype_ && has_shape_ && has_offsets_)) {
      Fail<FormatError>("{}: tensor {} has no {}", source_, Name(),
                        !has_dtype_ ? "dtype" : (!has_shape_ ? "shape" : "data_offsets"));
    }
    state_ = State::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShapeValue) {
      state_ = State::kShape;
    } else if (state_ == State::kOffsetsValue) {
      state_ = State::kOffsets;
      num_offsets_ = 0;
    } else {
      Unexpected("a list");
    }
    return true;
  }

  bool end_array() override {
    if (state_ == State::kOffsets && num_offsets_ != 2) BadOffsets();
    state_ = State::kTensor;
    return true;
  }

  bool string(string_t& value) override {
    if (state_ == State::kDtypeValue) {
      entries_.back().dtype = std::move(value);
      state_ = State::kTensor;
    } else if (state_ == State::kMetadataValue) {
      if (metadata_ != nullptr) (*metadata_)[metadata_key_] = std::move(value);
      state_ = State::kMetadata;
    } else {
      Unexpected("a string");
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kShape) {
      entries_.back().shape.push_back(value);
    } else if (state_ == State::kOffsets) {
      if (num_offsets_ >= 2) BadOffsets();
      (num_offsets_++ == 0 ? entries_.back().begin : entries_.back().end) = value;
    } else {
      Unexpected("an integer");
    }
    return true;
  }

  bool number_integer(number_integer_t) override { return Unexpected("a negative integer"); }
  bool number_float(number_float_t, const string_t&) override { return Unexpected("a fraction"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool null() override {
    if (state_ != State::kTopValue || !in_metadata_) Unexpected("null");
    state_ = State::kTop;
    return true;
  }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    Fail<FormatError>("{}: the safetensors header is not valid JSON: {}", source_,
                      SyntaxError(error));
  }

 private:
  enum class State {
    kStart,
    kTop,            // between tensors
    kTopValue,       // after a tensor's name or __metadata__
    kMetadata,       // inside __metadata__
    kMetadataValue,  // after a key of it
    kTensor,         // inside a tensor's object
    kDtypeValue,
    kShapeValue,
    kShape,
    kOffsetsValue,
    kOffsets
  };

  void StartField(const std::string& key) {
    const auto once = [&](bool& seen, State next) {
      if (std::exchange(seen, true)) {
        Fail<FormatError>("{}: tensor {} has two values of {}", source_, Name(), key);
      }
      state_ = next;
    };
    if (key == "dtype") {
      once(has_dtype_, State::kDtypeValue);
    } else if (key == "shape") {
      once(has_shape_, State::kShapeValue);
    } else if (key == "data_offsets") {
      once(has_offsets_, State::kOffsetsValue);
    } else {
      Fail<FormatError>("{}: tensor {} has an unknown key {} beside dtype, shape, data_offsets",
                        source_, Name(), QuoteName(key));
    }
  }

  [[noreturn]] bool Unexpected(std::string_view what) const {
    switch (state_) {
      case State::kStart:
      case State::kTop:
        Fail<FormatError>("{}: the safetensors header is {}, expected an object", source_, what);
      case State::kMetadata:
      case State::kMetadataValue:
        Fail<FormatError>("{}: __metadata__ of the safetensors header holds {}, expected a string",
                          source_, what);
      case State::kTopValue:
        Fail<FormatError>("{}: the header entry of {} is {}, expected an object", source_,
                          in_metadata_ ? "__metadata__" : Name(), what);
      case State::kDtypeValue:
        Fail<FormatError>("{}: dtype of tensor {} is {}, expected a string", source_, Name(), what);
      case State::kShapeValue:
        Fail<FormatError>("{}: shape of tensor {} is {}, expected a list", source_, Name(), what);
      case State::kShape:
        Fail<FormatError>("{}: shape of tensor {} holds {}, expected integers from 0", source_,
                          Name(), what);
      default:
        BadOffsets();
    }
  }

  [[noreturn]] void BadOffsets() const {
    Fail<FormatError>("{}: data_offsets of tensor {} are not two integers from 0", source_, Name());
  }

  std::string Name() const { return QuoteName(entries_.back().name); }

  std::string_view source_;
  SafetensorsMetadata* metadata_;  // null: not wanted
  std::string metadata_key_;
  std::vector<HeaderEntry> entries_;
  State state_ = State::kStart;
  bool in_metadata_ = false;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int num_offsets_ = 0;
};

}  // namespace

std::string QuoteName(std::string_view name) {
  constexpr size_t kMaxShown = 120;
  size_t shown = std::min(name.size(), kMaxShown);
  while (shown < name.size() && (name[shown] & 0xC0) == 0x80) --shown;  // no half of a character
  std::string text;
  for (const char c : name.substr(0, shown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {  // would break the line, or command the terminal
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  if (shown == name.size()) return fmt::format("\"{}\"", text);
  return fmt::format("\"{}…\" ({} bytes)", text, name.size());
}

std::vector<HeaderEntry> ParseSafetensorsHeader(std::string_view json, std::string_view source,
                                                SafetensorsMetadata* metadata) {
  // nlohmann would skip a byte order mark, and stop at a NUL as if the text ended there.
  if (json.starts_with("\xEF\xBB\xBF") || json.find('\0') != json.npos) {
    Fail<FormatError>("{}: the safetensors header is not valid JSON: it holds a {}", source,
                      json.starts_with('\xEF') ? "byte order mark" : "zero byte");
  }
  HeaderHandler handler(source, metadata);
  Json::sax_parse(json.begin(), json.end(), &handler);
  return handler.TakeEntries();
}

}  // namespace csm::checkpoint

#include "text/regex_splitter.h"

#include "base/error.h"
#include "text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>

namespace csm::text {
namespace {

std::string MessageOf(int error) {
  std::array<PCRE2_UCHAR, 256> message = {};
  pcre2_get_error_message(error, message.data(), message.size());
  return reinterpret_cast<const char*>(message.data());
}

PCRE2_SPTR Units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct RegexSplitter::Regex {
  pcre2_code* code = nullptr;
  bool has_jit = false;

  Regex() = default;
  ~Regex() { pcre2_code_free(code); }
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
};

RegexSplitter::RegexSplitter(std::string_view pattern, std::string_view where) : where_(where) {
  const std::string translated = TranslateSplitPattern(pattern, where);
  const auto regex = std::make_shared<Regex>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  regex->code = pcre2_compile(Units(translated), translated.size(), PCRE2_UTF | PCRE2_UCP, &error,
                              &offset, nullptr);
  if (regex->code == nullptr) {
    Fail<FormatError>("{} \"{}\" is not a valid pattern: {}", where, pattern, MessageOf(error));
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    Fail<FormatError>("{} \"{}\" matches the empty string, so it cannot split text", where,
                      pattern);
  }
  // Where the system forbids executable memory there is no JIT, and matching is several times
  // slower.
  regex->has_jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
  regex_ = regex;
}

struct RegexSplitter::Matcher::State {
  pcre2_match_data* data = nullptr;
  pcre2_match_context* context = nullptr;

  State() = default;
  ~State() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

RegexSplitter::Matcher::Matcher(const RegexSplitter& splitter, std::string_view text)
    : splitter_(splitter), text_(text), state_(std::make_unique<State>()) {
  state_->data = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  if (state_->data == nullptr || state_->context == nullptr) throw std::bad_alloc();
  // Giving back one character of a run is a step: a long run of spaces needs one each.
  constexpr size_t kMinSteps = 10'000'000;
  const size_t steps = std::max(kMinSteps, 16 * text.size());
  pcre2_set_match_limit(state_->context, static_cast<uint32_t>(std::min<size_t>(
                                             steps, std::numeric_limits<uint32_t>::max())));
}

RegexSplitter::Matcher::~Matcher() = default;

bool RegexSplitter::Matcher::Next(size_t start) {
  const Regex& regex = *splitter_.regex_;
  int result = PCRE2_ERROR_JIT_STACKLIMIT;
  if (regex.has_jit) {
    result = pcre2_jit_match(regex.code, Units(text_), text_.size(), start, 0, state_->data,
                             state_->context);
  }
  // The interpreter keeps its state in the heap, up to a limit of its own (20 MB).
  if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
    result = pcre2_match(regex.code, Units(text_), text_.size(), start,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, state_->data, state_->context);
  }
  if (result == PCRE2_ERROR_NOMATCH) return false;
  if (result < 0) {
    Fail<ArgumentError>("{} cannot split this text at byte {}: {}", splitter_.where_, start,
                        MessageOf(result));
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(state_->data);
  begin_ = bounds[0];
  end_ = bounds[1];
  return true;
}

}  // namespace csm::text

// CsmInputs as the padded arrays of transformers.
#include <algorithm>

#include "base/error.h"
#include "csm/csm.hpp"
#include "text/labels.h"

namespace csm {
namespace {

constexpr int64_t kNoClip = -1;

/// Where the row of `size` begins among `length` positions.
size_t Offset(std::string_view side, int64_t length, size_t size) {
  return side == "left" ? static_cast<size_t>(length) - size : 0;
}

/// The clips of a row end to end, and the sample after each.
void AppendClips(const CsmInputs::Row& row, size_t row_index, std::vector<float>* samples,
                 std::vector<int64_t>* ends) {
  for (const auto& clip : row.clips) {
    const auto* waveform = std::get_if<Waveform>(&clip);
    if (waveform == nullptr) {
      Fail<ArgumentError>("row {} has a clip of codes, which input_values (samples) cannot hold",
                          row_index);
    }
    samples->insert(samples->end(), waveform->samples.begin(), waveform->samples.end());
    ends->push_back(static_cast<int64_t>(samples->size()));
  }
}

void PadText(const CsmInputs& inputs, std::string_view side, PaddedInputs* padded) {
  const size_t total = static_cast<size_t>(padded->batch * padded->length);
  padded->input_ids.assign(total, inputs.pad_token_id);
  padded->attention_mask.assign(total, 0);
  const bool has_labels = std::any_of(inputs.rows.begin(), inputs.rows.end(),
                                      [](const auto& row) { return !row.labels.empty(); });
  if (has_labels) padded->labels.assign(total, text::kIgnore);
  for (size_t i = 0; i < inputs.rows.size(); ++i) {
    const CsmInputs::Row& row = inputs.rows[i];
    const size_t begin = i * static_cast<size_t>(padded->length) +
                         Offset(side, padded->length, row.input_ids.size());
    const auto at = [&](auto& values) { return values.begin() + static_cast<ptrdiff_t>(begin); };
    std::copy(row.input_ids.begin(), row.input_ids.end(), at(padded->input_ids));
    std::fill_n(at(padded->attention_mask), row.input_ids.size(), 1);
    if (row.labels.empty()) continue;
    if (row.labels.size() != row.input_ids.size()) {
      Fail<ArgumentError>("row {} has {} labels for {} ids", i, row.labels.size(),
                          row.input_ids.size());
    }
    std::copy(row.labels.begin(), row.labels.end(), at(padded->labels));
  }
}

/// Audio is always padded at its end.
void PadAudio(const CsmInputs& inputs, PaddedInputs* padded) {
  std::vector<std::vector<float>> samples(inputs.rows.size());
  std::vector<std::vector<int64_t>> ends(inputs.rows.size());
  size_t max_samples = 0;
  size_t max_clips = 0;
  for (size_t i = 0; i < inputs.rows.size(); ++i) {
    AppendClips(inputs.rows[i], i, &samples[i], &ends[i]);
    max_samples = std::max(max_samples, samples[i].size());
    max_clips = std::max(max_clips, ends[i].size());
  }
  padded->max_samples = static_cast<int64_t>(max_samples);
  padded->max_clips = static_cast<int64_t>(max_clips);
  padded->input_values.reserve(inputs.rows.size() * max_samples);
  for (size_t i = 0; i < inputs.rows.size(); ++i) {
    padded->input_values.insert(padded->input_values.end(), samples[i].begin(), samples[i].end());
    padded->input_values.resize((i + 1) * max_samples, 0.0f);
    padded->input_values_cutoffs.insert(padded->input_values_cutoffs.end(), ends[i].begin(),
                                        ends[i].end());
    padded->input_values_cutoffs.resize((i + 1) * max_clips, kNoClip);
  }
}

}  // namespace

PaddedInputs CsmInputs::padded(const PaddingOptions& options) const {
  const std::string& side = options.padding_side.value_or(padding_side);
  if (side != "left" && side != "right") {
    Fail<ArgumentError>("padding_side is \"{}\"; it should be \"left\" or \"right\"", side);
  }
  PaddedInputs result;
  result.batch = static_cast<int64_t>(rows.size());
  for (const Row& row : rows) {
    result.length = std::max(result.length, static_cast<int64_t>(row.input_ids.size()));
  }
  if (options.max_length) {
    if (result.length > *options.max_length) {
      Fail<ArgumentError>(
          "a row has {} positions, more than max_length {}; cutting it would "
          "separate audio from its place in the text",
          result.length, *options.max_length);
    }
    result.length = *options.max_length;
  }
  PadText(*this, side, &result);
  PadAudio(*this, &result);
  return result;
}

}  // namespace csm

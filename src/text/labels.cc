#include "text/labels.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/philox.h"

namespace csm::text {
namespace {

struct Draw {
  double number;
  int32_t* label;
};

}  // namespace

void SetLabels(const PromptTokens& tokens, double ratio, uint64_t seed,
               std::span<const std::vector<bool>> learnt, CsmInputs* inputs) {
  if (!(ratio >= 0 && ratio <= 1)) {
    Fail<ArgumentError>("depth_decoder_labels_ratio is {}; it should be in [0, 1]", ratio);
  }
  std::vector<Draw> draws;  // one for each audio frame
  for (size_t r = 0; r < inputs->rows.size(); ++r) {
    CsmInputs::Row& row = inputs->rows[r];
    row.labels.assign(row.input_ids.size(), kIgnore);
    uint64_t frame = 0;
    size_t clip = 0;
    for (size_t i = 0; i < row.input_ids.size(); ++i) {
      const int32_t id = row.input_ids[i];
      if (id != tokens.audio && id != tokens.audio_eos) continue;
      const bool is_learnt = learnt.empty() || clip >= learnt[r].size() || learnt[r][clip];
      // One that a text holds ends no clip.
      if (id == tokens.audio_eos && i > 0 && row.input_ids[i - 1] == tokens.audio) ++clip;
      if (!is_learnt) continue;
      row.labels[i] = id;
      if (id == tokens.audio) draws.push_back({UniformAt(seed, r, frame++, 0), &row.labels[i]});
    }
  }
  const auto num_skipped =
      static_cast<ptrdiff_t>(static_cast<double>(draws.size()) * (1.0 - ratio));
  // Equal draws keep their order, so the choice is the same on every machine.
  std::stable_sort(draws.begin(), draws.end(),
                   [](const Draw& a, const Draw& b) { return a.number < b.number; });
  for (ptrdiff_t i = 0; i < num_skipped; ++i) *draws[static_cast<size_t>(i)].label = kBackboneOnly;
}

}  // namespace csm::text

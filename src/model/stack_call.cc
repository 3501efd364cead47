#include "model/stack_call.h"

#include <algorithm>

#include "base/error.h"

namespace csm::model {
namespace {

void CheckEmbeds(const Matrix& embeds, int64_t width) {
  if (embeds.cols != width) {
    Fail<ArgumentError>("inputs_embeds has {} columns; this model's embeddings have {}",
                        embeds.cols, width);
  }
  if (embeds.rows < 0 || std::ssize(embeds.data) != embeds.rows * embeds.cols) {
    Fail<ArgumentError>("inputs_embeds says it is [{}, {}] but holds {} values", embeds.rows,
                        embeds.cols, embeds.data.size());
  }
}

// Rows are sequences of their own: two in one cache would overwrite each other.
void CheckCaches(std::span<const StackInput> batch) {
  std::vector<const KvCache*> caches;
  for (const StackInput& input : batch) {
    if (input.past_key_values != nullptr) caches.push_back(input.past_key_values);
  }
  std::sort(caches.begin(), caches.end());
  if (std::adjacent_find(caches.begin(), caches.end()) != caches.end()) {
    Fail<ArgumentError>("two rows of the batch have the same KvCache; each needs one of its own");
  }
}

// Cuts the packed rows [all positions, width] into one matrix a sequence.
void Scatter(std::span<const float> packed, int64_t first_row, std::span<const int64_t> starts,
             std::vector<Matrix*> targets) {
  for (size_t s = 0; s < targets.size(); ++s) {
    Matrix& target = *targets[s];
    const int64_t width = target.cols;
    const int64_t end_row = first_row + static_cast<int64_t>(packed.size()) / width;
    const int64_t begin = std::max(starts[s], first_row);
    const int64_t end = std::min(starts[s] + target.rows, end_row);
    if (begin >= end) continue;
    std::copy_n(packed.begin() + (begin - first_row) * width, (end - begin) * width,
                target.data.begin() + (begin - starts[s]) * width);
  }
}

}  // namespace

int64_t NumPositions(const StackInput& input) {
  const int kinds = (input.input_ids.empty() ? 0 : 1) + (input.codes != nullptr ? 1 : 0) +
                    (input.inputs_embeds != nullptr ? 1 : 0);
  if (kinds != 1) {
    Fail<ArgumentError>(
        "a row needs exactly one of input_ids, codes and inputs_embeds, not empty; {} are given",
        kinds);
  }
  const int64_t positions = input.codes != nullptr           ? input.codes->num_frames()
                            : input.inputs_embeds != nullptr ? input.inputs_embeds->rows
                                                             : std::ssize(input.input_ids);
  if (positions == 0) Fail<ArgumentError>("a row of the batch has no positions");
  if (!input.position_ids.empty() && std::ssize(input.position_ids) != positions) {
    Fail<ArgumentError>("a row has {} positions but {} position_ids", positions,
                        input.position_ids.size());
  }
  return positions;
}

int64_t FirstLogitPosition(int64_t positions, const ForwardOptions& options) {
  if (options.logits_to_keep < 0) {
    Fail<ArgumentError>("logits_to_keep is {}; it must be 0 (all) or more", options.logits_to_keep);
  }
  return options.logits_to_keep == 0 ? 0 : std::max<int64_t>(0, positions - options.logits_to_keep);
}

std::vector<StackOutput> CallStack(const LlamaStack& stack, int64_t embeds_width,
                                   std::span<const StackInput> batch, const ForwardOptions& options,
                                   ThreadPool& pool, const EmbedRow& embed) {
  const int64_t width = stack.config().hidden_size;
  const auto num_states = static_cast<size_t>(stack.config().num_hidden_layers + 1);
  CheckCaches(batch);
  std::vector<KvCache> own_caches(batch.size());
  std::vector<Segment> segments;
  std::vector<int64_t> starts;
  int64_t total = 0;
  for (size_t s = 0; s < batch.size(); ++s) {
    const int64_t positions = NumPositions(batch[s]);
    if (batch[s].inputs_embeds != nullptr) CheckEmbeds(*batch[s].inputs_embeds, embeds_width);
    KvCache& cache =
        batch[s].past_key_values != nullptr ? *batch[s].past_key_values : own_caches[s];
    segments.push_back({&cache.impl(), positions, batch[s].position_ids});
    starts.push_back(total);
    total += positions;
  }
  std::vector<float> hidden(static_cast<size_t>(total * width));
  std::vector<StackOutput> outputs(batch.size());
  for (size_t s = 0; s < batch.size(); ++s) {
    float* out = hidden.data() + starts[s] * width;
    embed(batch[s], out);
    outputs[s].last_hidden_state = Matrix(segments[s].num_rows, width);
    if (options.output_hidden_states) {
      outputs[s].hidden_states.assign(num_states, Matrix(segments[s].num_rows, width));
    }
  }
  HiddenObserver observer;
  if (options.output_hidden_states) {
    observer = [&](int64_t layer, int64_t first_row, std::span<const float> rows) {
      std::vector<Matrix*> targets;
      for (StackOutput& output : outputs) {
        targets.push_back(&output.hidden_states[static_cast<size_t>(layer)]);
      }
      Scatter(rows, first_row, starts, targets);
    };
  }
  Scratch scratch;
  stack.Forward(segments, hidden, scratch, pool, observer);
  std::vector<Matrix*> targets;
  for (StackOutput& output : outputs) targets.push_back(&output.last_hidden_state);
  Scatter(hidden, 0, starts, targets);
  return outputs;
}

}  // namespace csm::model

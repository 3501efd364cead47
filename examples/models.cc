// The models on their own: backbone and depth decoder from ids, codes or embeddings, with a cache.
//   models MODEL_DIR
#include <algorithm>
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>
#include <vector>

int main(int argc, char** argv) try {
  if (argc != 2) return std::fprintf(stderr, "usage: %s MODEL_DIR\n", argv[0]), 2;
  const auto model = csm::CsmForConditionalGeneration::from_pretrained(argv[1]);
  const auto backbone = model.backbone_model();
  const auto depth_decoder = model.depth_decoder();

  // A prompt of text ids, then a frame of codes, through one cache of fixed size.
  csm::KvCache cache(16);
  const std::vector<int32_t> ids = {1, 2, 3};
  const csm::StackInput prompt{.input_ids = ids, .past_key_values = &cache};
  const auto first = backbone.forward(prompt, {.output_hidden_states = true});
  const auto last = first.last_hidden_state.row(first.last_hidden_state.rows - 1);

  // Codebooks 1.. of a frame whose code 0 is 5, greedily.
  csm::Codes frame{static_cast<int>(model.config().num_codebooks), {}};
  frame.data = depth_decoder.generate(last, 5);
  const csm::StackInput next{.codes = &frame, .past_key_values = &cache};
  const auto second = model.forward(next);  // with the head: the next code 0's logits

  std::printf("%zu hidden states, cache of %lld positions, next logits [%lld, %lld]\n",
              first.hidden_states.size(), static_cast<long long>(cache.get_seq_length()),
              static_cast<long long>(second.logits.rows),
              static_cast<long long>(second.logits.cols));
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

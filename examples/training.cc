// Learning from a conversation: HF's training snippet, a few steps long.
//   training MODEL_DIR CLIP.wav OUT_DIR
#include <csm/train.hpp>
#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: %s MODEL_DIR CLIP.wav OUT_DIR\n", argv[0]), 2;
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto model = csm::train::TrainableModel::from_pretrained(argv[1]);

  const csm::Conversation conversation = {
      {"0", {csm::Text{"Good morning."}, csm::Audio{argv[2]}}},
      {"1", {csm::Text{"Did you sleep well?"}, csm::Audio{argv[2]}}},
  };
  const csm::CsmInputs inputs =
      processor.apply_chat_template(conversation, {.output_labels = true});

  torch::optim::AdamW optimizer(model.module().parameters(), torch::optim::AdamWOptions(1e-3));
  model.module().train();
  double first = 0, last = 0;
  for (int step = 0; step < 5; ++step) {
    const csm::train::Losses losses = model(inputs);
    optimizer.zero_grad();
    losses.loss.backward();
    torch::nn::utils::clip_grad_norm_(model.module().parameters(), 1.0);
    optimizer.step();
    last = losses.loss.item<double>();
    if (step == 0) first = last;
    std::printf("step %d: loss %.4f\n", step, last);
  }
  model.save_pretrained(argv[3], csm::DType::kBF16);
  return last < first ? 0 : 1;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

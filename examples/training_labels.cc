// Labels for training, and HF's losses on them.
//   training_labels MODEL_DIR TURN_0.wav TURN_1.wav
#include <algorithm>
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
  if (argc != 4) {
    return std::fprintf(stderr, "usage: %s MODEL_DIR TURN_0.wav TURN_1.wav\n", argv[0]), 2;
  }
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto model = csm::CsmForConditionalGeneration::from_pretrained(argv[1]);

  // Every turn with its audio; half of the frames train the depth decoder too.
  const csm::Conversation conversation = {
      {"0", {csm::Text{"Hello there, how are you today?"}, csm::Audio{argv[2]}}},
      {"1", {csm::Text{"Well enough, thank you."}, csm::Audio{argv[3]}}},
  };
  const auto inputs = processor.apply_chat_template(
      conversation, {.output_labels = true, .depth_decoder_labels_ratio = 0.5});
  const auto output = model.forward(inputs);
  const auto& labels = inputs.rows[0].labels;
  std::printf("%zu positions, %td of them labelled\n", labels.size(),
              std::count_if(labels.begin(), labels.end(), [](int label) { return label != -100; }));
  std::printf("loss %.4f = backbone %.4f + depth decoder %.4f\n", *output.loss,
              *output.backbone_loss, *output.depth_decoder_loss);
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

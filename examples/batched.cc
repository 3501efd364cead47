// Several conversations at once: each weight is read once for all of them.
//   batched MODEL_DIR OUT_PREFIX
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL_DIR OUT_PREFIX\n", argv[0]), 2;
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto model = csm::CsmForConditionalGeneration::from_pretrained(argv[1]);

  const std::vector<csm::Conversation> conversations = {
      {{"0", {csm::Text{"Good morning."}}}},
      {{"1", {csm::Text{"The train to the coast leaves at a quarter past nine."}}}},
  };
  const auto output = model.generate(processor.apply_chat_template(conversations));
  for (size_t i = 0; i < output.audio.size(); ++i) {
    const std::string file = std::string(argv[2]) + "_" + std::to_string(i) + ".wav";
    processor.save_audio(output.audio[i], file);
    std::printf("%s: %d frames\n", file.c_str(), output.sequences[i].num_frames());
  }
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

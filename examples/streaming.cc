// Audio while it is being generated: raw f32 samples at the codec's rate on standard output.
//   streaming MODEL_DIR | ffplay -f f32le -ar 24000 -ac 1 -
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>
#include <span>

int main(int argc, char** argv) try {
  if (argc != 2) return std::fprintf(stderr, "usage: %s MODEL_DIR\n", argv[0]), 2;
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto model = csm::CsmForConditionalGeneration::from_pretrained(argv[1]);

  bool listener_left = false;
  csm::GenerateCallbacks callbacks;
  callbacks.on_audio = [&](int /*sequence*/, std::span<const float> samples) {
    listener_left =
        std::fwrite(samples.data(), sizeof(float), samples.size(), stdout) != samples.size() ||
        std::fflush(stdout) != 0;
  };
  callbacks.is_cancelled = [&] { return listener_left; };
  auto config = model.generation_config();
  config.output_audio = false;  // the callback has it all
  const auto inputs =
      processor.apply_chat_template({{"0", {csm::Text{"One word after another."}}}});
  const auto output = model.generate(inputs, config, callbacks);
  std::fprintf(stderr, "%d frames\n", output.sequences[0].num_frames());
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

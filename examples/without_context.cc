// Speech for one line of text, in both of HF's spellings.
//   without_context MODEL_DIR OUT.wav
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL_DIR OUT.wav\n", argv[0]), 2;
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto model = csm::CsmForConditionalGeneration::from_pretrained(argv[1]);

  // A plain prompt: "[0]" is speaker 0.
  const auto inputs =
      processor("[0]The past is just a story we tell ourselves.", {.add_special_tokens = true});
  const auto output = model.generate(inputs);

  // The same as a conversation of one turn.
  const csm::Conversation conversation = {
      {"0", {csm::Text{"The past is just a story we tell ourselves."}}}};
  auto config = model.generation_config();
  config.seed = output.seed;
  const auto same = model.generate(processor.apply_chat_template(conversation), config);
  if (same.sequences != output.sequences) throw csm::Error("the two spellings differ");

  processor.save_audio(output.audio[0], argv[2]);
  std::printf("%d frames, finish_reason %s\n", output.sequences[0].num_frames(),
              std::string(csm::to_string(output.finish_reason[0])).c_str());
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

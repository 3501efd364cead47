// Speech in the voice and mood of a conversation so far.
//   with_context MODEL_DIR TURN.wav OUT.wav
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: %s MODEL_DIR TURN.wav OUT.wav\n", argv[0]), 2;
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto model = csm::CsmForConditionalGeneration::from_pretrained(argv[1]);

  // Turns so far: text with its audio (a file of any rate, samples, or codes). The last turn is the
  // line to speak.
  const csm::Conversation conversation = {
      {"0", {csm::Text{"Hello there, how are you today?"}, csm::Audio{argv[2]}}},
      {"0", {csm::Text{"I was just about to call you."}}},
  };
  const auto output = model.generate(processor.apply_chat_template(conversation));
  processor.save_audio(output.audio[0], argv[3]);
  std::printf("%d frames\n", output.sequences[0].num_frames());
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

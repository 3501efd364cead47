// A voice: a context that is read once, saved, and spoken after as often as one likes.
//   voice MODEL_DIR TURN.wav VOICE OUT_PREFIX
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
  if (argc != 5) {
    return std::fprintf(stderr, "usage: %s MODEL_DIR TURN.wav VOICE OUT_PREFIX\n", argv[0]), 2;
  }
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto model = csm::CsmForConditionalGeneration::from_pretrained(argv[1]);

  // Once: the turns that the voice is to be heard in, each with its audio.
  const csm::Conversation turns = {
      {"0", {csm::Text{"Hello there, how are you today?"}, csm::Audio{argv[2]}}},
  };
  csm::Voice::create(model, processor, turns).save(argv[3]);

  // As often as one likes, also in another process: only the new lines are read. Threads may share
  // the voice, and a batch may speak several lines after it.
  const auto voice = csm::Voice::from_file(argv[3]);
  const std::vector<csm::Conversation> lines = {
      {{"0", {csm::Text{"I was just about to call you."}}}},
      {{"0", {csm::Text{"Shall we go?"}}}},
  };
  const auto output = model.generate(voice.apply_chat_template(processor, lines));
  for (size_t i = 0; i < output.audio.size(); ++i) {
    processor.save_audio(output.audio[i], argv[4] + std::to_string(i) + ".wav");
  }
  std::printf("%.1f s of context in %lld positions\n", voice.info().audio_seconds,
              static_cast<long long>(voice.info().num_positions));
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

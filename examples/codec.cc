// The codec alone: audio to codes and back, one frame at a time, as a telephone line would.
//   codec MODEL_DIR IN.wav OUT.wav
#include <csm/csm.hpp>
#include <cstdio>
#include <exception>
#include <vector>

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: %s MODEL_DIR IN.wav OUT.wav\n", argv[0]), 2;
  const auto processor = csm::CsmProcessor::from_pretrained(argv[1]);
  const auto codec = csm::MimiModel::from_pretrained(argv[1]);

  const csm::Waveform clip = processor.load_audio(argv[2]);  // any file, at the codec's rate

  csm::MimiModel::Encoder encoder(codec);
  csm::MimiModel::Decoder decoder(codec);
  std::vector<float> out;
  const auto send = [&](const csm::Codes& codes) {
    const std::vector<float> samples = decoder.push(codes);
    out.insert(out.end(), samples.begin(), samples.end());
  };
  const auto frame_size = static_cast<size_t>(codec.config().frame_size());
  for (size_t i = 0; i < clip.samples.size(); i += frame_size) {
    const size_t count = std::min(frame_size, clip.samples.size() - i);
    send(encoder.push({clip.samples.data() + i, count}));
  }
  send(encoder.finish());
  if (out != codec.decode(codec.encode(clip.samples))) throw csm::Error("streaming differs");
  processor.save_audio(out, argv[3]);
  std::printf("%zu samples\n", out.size());
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

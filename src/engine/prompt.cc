#include "engine/prompt.h"

#include <algorithm>

#include "base/error.h"

namespace csm::engine {
namespace {

Codes EncodeClip(const Waveform& clip, const MimiModel& codec, const CsmConfig& config) {
  if (clip.sampling_rate != config.codec_config.sampling_rate) {
    Fail<ArgumentError>("a clip has a sampling rate of {} Hz; the codec's is {} Hz",
                        clip.sampling_rate, config.codec_config.sampling_rate);
  }
  return codec.encode(clip.samples, static_cast<int>(config.num_codebooks));
}

}  // namespace

Codes EncodeClips(const CsmInputs::Row& row, const MimiModel& codec, const CsmConfig& config) {
  Codes result{.num_codebooks = static_cast<int>(config.num_codebooks)};
  for (const auto& clip : row.clips) {
    Codes encoded;
    const Codes* codes = std::get_if<Codes>(&clip);
    if (codes == nullptr) {
      encoded = EncodeClip(std::get<Waveform>(clip), codec, config);
      codes = &encoded;
    } else {
      model::CheckCodes(*codes, config.num_codebooks, config.vocab_size);
    }
    result.data.insert(result.data.end(), codes->data.begin(), codes->data.end());
  }
  return result;
}

Matrix EmbedPrompt(const CsmInputs::Row& row, const Codes& frames,
                   const CsmBackboneModel::Impl& backbone) {
  const CsmConfig& config = backbone.config;
  const bool has_audio = !row.clips.empty();
  if (row.input_ids.empty()) Fail<ArgumentError>("a row of the batch has no input_ids");
  if (has_audio) {
    const auto placeholders =
        std::count(row.input_ids.begin(), row.input_ids.end(), config.audio_token_id);
    if (placeholders != frames.num_frames()) {
      Fail<ArgumentError>(
          "a row has {} audio placeholders (id {}) for {} frames of audio; it needs one per frame",
          placeholders, config.audio_token_id, frames.num_frames());
    }
  }
  const std::vector<int32_t> end_of_audio(static_cast<size_t>(config.num_codebooks),
                                          static_cast<int32_t>(config.codebook_eos_token_id));
  Matrix result(std::ssize(row.input_ids), config.hidden_size);
  int next_frame = 0;
  for (int64_t i = 0; i < result.rows; ++i) {
    const int32_t id = row.input_ids[static_cast<size_t>(i)];
    float* out = result.row(i).data();
    if (has_audio && id == config.audio_token_id) {
      backbone.EmbedFrame(frames.frame(next_frame++), out);
    } else if (has_audio && id == config.audio_eos_token_id) {
      backbone.EmbedFrame(end_of_audio, out);
    } else {
      backbone.EmbedText(id, out);
    }
  }
  return result;
}

}  // namespace csm::engine

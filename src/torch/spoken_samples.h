// Sentences that the model speaks as it learns, to be listened to.
#ifndef CSM_TORCH_SPOKEN_SAMPLES_H_
#define CSM_TORCH_SPOKEN_SAMPLES_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"

namespace csm::train {

/// What is spoken, and how.
struct SampleRequest {
  std::vector<Conversation> conversations;
  LoadOptions loading;
  uint64_t seed = 0;
  std::filesystem::path output;
  std::function<bool()> is_cancelled;
  std::function<void(const std::string& sentence)> on_note;  ///< what was not spoken and why
};

/// Speaks the last turn of each conversation, with the others as context, into
/// OUTPUT/samples/step-STEP-I.flac; I.txt holds the text. At most ten seconds each, drawn as the
/// checkpoint's generation config says, with the same seed at every step. What cannot be spoken
/// (too long for the model) is left out. Throws FileError.
void SpeakSamples(const checkpoint::CsmCheckpoint& model, const CsmProcessor& processor,
                  const SampleRequest& request, int64_t step);

/// A sample as a file, by text and step.
struct SpokenSample {
  int64_t step = 0, index = 0;
  std::string text;
  std::filesystem::path file;
};

/// Those in OUTPUT/samples, by index, then step.
std::vector<SpokenSample> ReadSpokenSamples(const std::filesystem::path& output);

/// Removes those of later steps, which a resumed run speaks anew.
void RemoveSamplesAfter(const std::filesystem::path& output, int64_t step);

}  // namespace csm::train

#endif  // CSM_TORCH_SPOKEN_SAMPLES_H_

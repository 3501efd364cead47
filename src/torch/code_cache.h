// Codes of recordings, kept on disk: the codec runs once over a dataset, not once a run.
#ifndef CSM_TORCH_CODE_CACHE_H_
#define CSM_TORCH_CODE_CACHE_H_

#include <filesystem>
#include <string>

#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"

namespace csm::train {

/// DIR/CODEC-CONTENT.codes, by hashes of the codec and of the audio file: a file that moves keeps
/// its codes, one that changes gets new ones, and a run that was interrupted goes on where it was.
class CodeCache {
 public:
  /// The folder is made when there is something to keep.
  CodeCache(std::filesystem::path dir, const checkpoint::CsmCheckpoint& checkpoint,
            const CsmProcessor& processor, const MimiModel& codec);

  /// The conversation with codes in place of audio files. Throws FormatError, FileError for a file
  /// that cannot be read.
  Conversation WithCodes(Conversation conversation) const;

  /// The codes of an audio file, kept already or from now on. Threads may call it at once. Throws
  /// as WithCodes does, and Error if they cannot be kept.
  Codes CodesOf(const std::filesystem::path& audio) const;

 private:
  std::filesystem::path dir_;
  std::string codec_key_;
  int num_codebooks_;
  const CsmProcessor& processor_;
  const MimiModel& codec_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_CODE_CACHE_H_

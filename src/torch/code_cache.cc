#include "torch/code_cache.h"

#include <cstring>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "checkpoint/config_writer.h"
#include "engine/fingerprint.h"

namespace csm::train {
namespace {

// The codes as int32, frame after frame. What does not fit (half a file of a full disk cannot be:
// it is written atomically) counts as missing.
std::optional<Codes> ReadCodes(const std::filesystem::path& file, int num_codebooks,
                               int64_t limit) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return std::nullopt;
  const std::string bytes = ReadFile(file);
  Codes codes{num_codebooks, std::vector<int32_t>(bytes.size() / sizeof(int32_t))};
  std::memcpy(codes.data.data(), bytes.data(), codes.data.size() * sizeof(int32_t));
  const bool is_whole =
      bytes.size() % (sizeof(int32_t) * static_cast<size_t>(num_codebooks)) == 0 && !bytes.empty();
  for (const int32_t code : codes.data) {
    if (code < 0 || code >= limit) return std::nullopt;
  }
  return is_whole ? std::optional(std::move(codes)) : std::nullopt;
}

}  // namespace

CodeCache::CodeCache(std::filesystem::path dir, const checkpoint::CsmCheckpoint& checkpoint,
                     const CsmProcessor& processor, const MimiModel& codec)
    : dir_(std::move(dir)),
      codec_key_(engine::CodecFingerprint(checkpoint)),
      num_codebooks_(static_cast<int>(checkpoint.config.num_codebooks)),
      processor_(processor),
      codec_(codec) {}

Codes CodeCache::CodesOf(const std::filesystem::path& audio) const {
  Hash hash;
  hash.Add(MappedFile(audio).bytes());
  const std::filesystem::path file =
      dir_ / fmt::format("{}-{:016x}.codes", codec_key_, hash.state());
  if (auto codes = ReadCodes(file, num_codebooks_, codec_.config().codebook_size)) return *codes;
  Codes codes = codec_.encode(processor_.load_audio(audio).samples, num_codebooks_);
  const auto* bytes = reinterpret_cast<const char*>(codes.data.data());
  try {
    checkpoint::MakeFolder(dir_);
    WriteFileAtomically(file, {bytes, codes.data.size() * sizeof(int32_t)});
  } catch (const FileError& error) {  // no fault of the recording
    Fail<Error>("codes cannot be kept: {}", error.what());
  }
  return codes;
}

Conversation CodeCache::WithCodes(Conversation conversation) const {
  for (Message& message : conversation) {
    for (auto& item : message.content) {
      auto* audio = std::get_if<Audio>(&item);
      if (audio == nullptr) continue;
      const auto* path = std::get_if<std::filesystem::path>(&audio->source);
      if (path != nullptr) audio->source = CodesOf(*path);
    }
  }
  return conversation;
}

}  // namespace csm::train

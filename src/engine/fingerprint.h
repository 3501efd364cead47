// What tells models apart: a voice made with one is of no use to another.
#ifndef CSM_ENGINE_FINGERPRINT_H_
#define CSM_ENGINE_FINGERPRINT_H_

#include <mutex>
#include <string>
#include <string_view>

#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"

namespace csm::engine {

struct ModelIdentity {
  std::string name;         ///< of its folder or file, or as in the Hugging Face cache
  std::string dtype;        ///< types of the backbone's matrices, e.g. "bf16" or "q8_0, f16"
  std::string precision;    ///< "exact", or "fast" if products round their input
  std::string fingerprint;  ///< 16 hexadecimal digits
};

/// "exact" or "fast": of its products.
std::string_view PrecisionName(const CsmForConditionalGeneration::Impl& model);

/// The fingerprint is a hash (FNV-1a, 64 bits) of what the keys and values of a prompt depend on:
/// the config but for the depth decoder, the backbone's matrices, norms, biases and embeddings as
/// they are in memory, types and shapes included, the precision, and the codec's tensors as stored
/// but for its decoder. Of more than 16 KiB of values, 16 pieces of 1 KiB are read, evenly spaced,
/// the first and last among them. So a folder and a GGUF file of the same values are one model, and
/// a model in another type is another. It tells models apart that were trained apart; a change of
/// single weights may escape.
ModelIdentity Identify(const CsmForConditionalGeneration::Impl& model);

/// Of what recordings become codes by: a hash as above of the codec's config and its tensors but
/// for its decoder, 16 hexadecimal digits.
std::string CodecFingerprint(const checkpoint::CsmCheckpoint& checkpoint);

/// The identity of one model, found when first asked for: it reads pages all over the weights
/// (csm-1b: 7 ms when they are in memory). Thread-safe.
class LazyIdentity {
 public:
  const ModelIdentity& Of(const CsmForConditionalGeneration::Impl& model) const {
    std::call_once(once_, [&] { identity_ = Identify(model); });
    return identity_;
  }

 private:
  mutable std::once_flag once_;
  mutable ModelIdentity identity_;
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_FINGERPRINT_H_

// What the public csm::CsmForConditionalGeneration holds.
#ifndef CSM_ENGINE_CSM_MODEL_H_
#define CSM_ENGINE_CSM_MODEL_H_

#include <memory>

#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"
#include "engine/fingerprint.h"
#include "model/backbone.h"
#include "model/depth_decoder.h"

namespace csm {

/// The three models of one checkpoint on one runtime; immutable.
struct CsmForConditionalGeneration::Impl {
  checkpoint::CsmCheckpoint checkpoint;
  std::shared_ptr<const CsmBackboneModel::Impl> backbone;
  std::shared_ptr<const CsmDepthDecoderModel::Impl> depth_decoder;
  MimiModel codec;
  std::optional<DType> dtype;  ///< that matrices were converted to, none: as stored
  std::unique_ptr<const engine::LazyIdentity> identity = std::make_unique<engine::LazyIdentity>();
};

namespace engine {

/// The model of an opened checkpoint.
CsmForConditionalGeneration LoadModel(checkpoint::CsmCheckpoint checkpoint,
                                      const LoadOptions& options);

}  // namespace engine
}  // namespace csm

#endif  // CSM_ENGINE_CSM_MODEL_H_

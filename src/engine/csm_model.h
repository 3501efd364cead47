// What the public csm::CsmForConditionalGeneration holds.
#ifndef CSM_ENGINE_CSM_MODEL_H_
#define CSM_ENGINE_CSM_MODEL_H_

#include <memory>

#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"
#include "engine/device_model.h"
#include "engine/fingerprint.h"
#include "engine/lazy_stacks.h"
#include "model/prompt_embeddings.h"

namespace csm {

/// The three models of one checkpoint on one runtime; immutable.
struct CsmForConditionalGeneration::Impl {
  checkpoint::CsmCheckpoint checkpoint;
  std::unique_ptr<const engine::LazyStacks> stacks;
  std::shared_ptr<const model::PromptEmbeddings> embeddings;
  MimiModel codec;
  std::optional<DType> dtype;  ///< that matrices were converted to, none: as stored
  std::shared_ptr<const engine::DeviceModel> device;  ///< what speaks; null: `stacks`
  std::unique_ptr<const engine::LazyIdentity> identity = std::make_unique<engine::LazyIdentity>();

  const std::shared_ptr<const CsmBackboneModel::Impl>& backbone() const {
    return stacks->Get().backbone;
  }
  const std::shared_ptr<const CsmDepthDecoderModel::Impl>& depth_decoder() const {
    return stacks->Get().depth_decoder;
  }
};

namespace engine {

/// The model of an opened checkpoint, on `options.device`.
CsmForConditionalGeneration LoadModel(checkpoint::CsmCheckpoint checkpoint,
                                      const LoadOptions& options);
/// The same, with what speaks; null: this library's own kernels.
CsmForConditionalGeneration LoadModel(checkpoint::CsmCheckpoint checkpoint,
                                      const LoadOptions& options,
                                      std::shared_ptr<const DeviceModel> device);

}  // namespace engine
}  // namespace csm

#endif  // CSM_ENGINE_CSM_MODEL_H_

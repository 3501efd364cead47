// The stacks on this library's own kernels, loaded when first asked for: on another device that may
// be never.
#ifndef CSM_ENGINE_LAZY_STACKS_H_
#define CSM_ENGINE_LAZY_STACKS_H_

#include <memory>
#include <mutex>

#include "base/runtime.h"
#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"
#include "model/backbone.h"
#include "model/depth_decoder.h"

namespace csm::engine {

struct Stacks {
  std::shared_ptr<const CsmBackboneModel::Impl> backbone;
  std::shared_ptr<const CsmDepthDecoderModel::Impl> depth_decoder;
};

/// Thread-safe.
class LazyStacks {
 public:
  /// `options.runtime` is given.
  LazyStacks(const checkpoint::CsmCheckpoint& checkpoint, const LoadOptions& options)
      : checkpoint_(checkpoint), options_(options) {}

  const Stacks& Get() const {
    std::call_once(once_, [&] { stacks_ = Load(); });
    return stacks_;
  }

 private:
  Stacks Load() const;

  checkpoint::CsmCheckpoint checkpoint_;
  LoadOptions options_;
  mutable std::once_flag once_;
  mutable Stacks stacks_;
};

}  // namespace csm::engine

#endif  // CSM_ENGINE_LAZY_STACKS_H_

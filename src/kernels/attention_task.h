// The piece of attention that one thread computes, between attention.cc (which cuts) and
// attention-inl.h (which computes).
#ifndef CSM_KERNELS_ATTENTION_TASK_H_
#define CSM_KERNELS_ATTENTION_TASK_H_

#include <cstddef>
#include <span>

#include "kernels/attention.h"

namespace csm::kernels {

constexpr size_t kMaxAttentionRows = 16;

struct AttentionTask {
  std::span<const AttentionRow> rows;  ///< at most kMaxAttentionRows, with the same keys and values
  const AttentionShape* shape;
  size_t kv_head;
};

}  // namespace csm::kernels

#endif  // CSM_KERNELS_ATTENTION_TASK_H_

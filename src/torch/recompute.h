// Activation checkpointing: a layer's inner values are computed again in the backward pass instead
// of being kept.
#ifndef CSM_TORCH_RECOMPUTE_H_
#define CSM_TORCH_RECOMPUTE_H_

#include <torch/torch.h>

#include <functional>

namespace csm::train {

using Layer = std::function<torch::Tensor(const torch::Tensor&)>;

/// layer(x), of which only x is kept for the backward pass; autocast and what dropout draws are the
/// same both times, so the gradients are to the bit those of a plain call. `x` must require a
/// gradient, or nothing in the layer gets one.
torch::Tensor Recompute(const torch::Tensor& x, Layer layer);

}  // namespace csm::train

#endif  // CSM_TORCH_RECOMPUTE_H_

// Muon: steps for matrices that turn every direction by the same amount.
#ifndef CSM_TORCH_MUON_H_
#define CSM_TORCH_MUON_H_

#include <torch/torch.h>

namespace csm::train {

/// What a matrix moves by at learning rate 1, negative: `momentum` first takes in the gradient,
/// then Nesterov's look ahead is made nearly orthogonal (every singular value between 0.7 and 1.2)
/// by five steps of Newton and Schulz, in products of bf16 if so told, which it can bear. It is
/// scaled to the length of AdamW's steps, so that both learn at one rate with one weight decay.
/// f32, [rows, columns] each.
///
/// Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the
/// scale, 0.2 sqrt(max(rows, columns)), is that of Liu et al. 2025, "Muon is scalable for LLM
/// training".
torch::Tensor MuonUpdate(const torch::Tensor& gradient, torch::Tensor& momentum, bool bf16 = false);

}  // namespace csm::train

#endif  // CSM_TORCH_MUON_H_

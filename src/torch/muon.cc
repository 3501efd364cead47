#include "torch/muon.h"

#include <algorithm>
#include <cmath>

namespace csm::train {
namespace {

constexpr double kMomentum = 0.95;
constexpr int kSteps = 5;
// Of the polynomial a x + b x^3 + c x^5, which lifts small singular values the most (Jordan et
// al.).
constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
constexpr double kLeastNorm = 1e-7;
constexpr double kScale = 0.2;  // of the root mean square of AdamW's steps

torch::Tensor Orthogonalised(torch::Tensor x) {
  const bool is_tall = x.size(0) > x.size(1);
  if (is_tall) x = x.t();
  x = x / x.norm().clamp_min(kLeastNorm);
  for (int step = 0; step < kSteps; ++step) {
    const torch::Tensor square = x.mm(x.t());
    const torch::Tensor factor = torch::addmm(square, square, square, kB, kC);
    x = torch::addmm(x, factor, x, kA);
  }
  return is_tall ? x.t() : x;
}

}  // namespace

torch::Tensor MuonUpdate(const torch::Tensor& gradient, torch::Tensor& momentum, bool bf16) {
  momentum.lerp_(gradient, 1 - kMomentum);
  const torch::Tensor ahead = torch::lerp(gradient, momentum, kMomentum);
  const auto longer = static_cast<double>(std::max(gradient.size(0), gradient.size(1)));
  const torch::Dtype type = bf16 ? torch::kBFloat16 : torch::kFloat32;
  return Orthogonalised(ahead.to(type)).to(torch::kFloat32) * (kScale * std::sqrt(longer));
}

}  // namespace csm::train

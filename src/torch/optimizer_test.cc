#include "torch/optimizer.h"

#include <gtest/gtest.h>

#include <string>

#include "torch/muon.h"

namespace csm::train {
namespace {

class MuonTest : public testing::TestWithParam<std::tuple<int64_t, int64_t, bool>> {};

TEST_P(MuonTest, EveryDirectionIsTurnedAlike) {
  torch::manual_seed(1);
  const auto [rows, columns, bf16] = GetParam();
  const torch::Tensor gradient = torch::randn({rows, columns}) * 1e-3;
  torch::Tensor momentum = torch::zeros_like(gradient);
  const torch::Tensor update = MuonUpdate(gradient, momentum, bf16);
  const double scale = 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns)));
  const auto [u, s, v] = torch::linalg_svd(update / scale, /*full_matrices=*/false, c10::nullopt);
  EXPECT_GT(s.min().item<double>(), 0.6);
  EXPECT_LT(s.max().item<double>(), 1.3);
  // Along the gradient's own directions: what is left of U^T update V beside its diagonal is noise.
  const auto [gu, gs, gv] = torch::linalg_svd(gradient, /*full_matrices=*/false, c10::nullopt);
  const torch::Tensor turned = gu.t().mm(update / scale).mm(gv.t());
  EXPECT_LT((turned - turned.diag().diag()).abs().max().item<double>(), bf16 ? 0.05 : 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MuonTest,
                         testing::Values(std::tuple{24, 24, false}, std::tuple{16, 48, false},
                                         std::tuple{48, 16, false}, std::tuple{48, 16, true}));

TEST(MomentumTest, LooksAheadAsNesterov) {
  const torch::Tensor gradient = torch::eye(4);
  torch::Tensor momentum = torch::full({4, 4}, 2.0F);
  MuonUpdate(gradient, momentum);
  EXPECT_TRUE(torch::allclose(momentum, 0.95 * torch::full({4, 4}, 2.0F) + 0.05 * gradient));
}

struct TwoKindsImpl : torch::nn::Module {
  TwoKindsImpl() {
    layers = register_module("layers", torch::nn::ModuleList(torch::nn::Linear(4, 6)));
    head = register_module("head", torch::nn::Linear(4, 3));
  }
  torch::nn::ModuleList layers;
  torch::nn::Linear head{nullptr};
};

// "stack.layers.0.weight" is a matrix of a layer; its bias, and the head, are not.
struct StackImpl : torch::nn::Module {
  StackImpl() { stack = register_module("stack", std::make_shared<TwoKindsImpl>()); }
  std::shared_ptr<TwoKindsImpl> stack;
};

TEST(OptimizerTest, MuonTakesMatricesOfLayersAlone) {
  StackImpl model;
  TrainOptions options;
  options.optim = kMuon;
  const Optimizer optimizer(model, options);
  std::string with_squares;
  for (const auto& [name, tensor] : optimizer.State()) {
    if (name.starts_with("exp_avg_sq.")) with_squares += name.substr(11) + " ";
  }
  EXPECT_EQ(with_squares, "stack.layers.0.bias stack.head.weight stack.head.bias ");
}

TEST(OptimizerTest, MuonStepsAgainstTheGradientAndDecays) {
  StackImpl model;
  TrainOptions options;
  options.optim = kMuon;
  options.weight_decay = 0.5;
  Optimizer optimizer(model, options);
  auto& weight = model.stack->layers[0]->as<torch::nn::Linear>()->weight;
  const torch::Tensor before = weight.detach().clone();
  weight.mutable_grad() = torch::randn_like(weight);
  torch::Tensor momentum = torch::zeros_like(weight);
  const torch::Tensor update = MuonUpdate(weight.grad(), momentum);
  optimizer.Step(0.1);
  EXPECT_TRUE(
      torch::allclose(weight.detach(), before * (1 - 0.1 * 0.5) - 0.1 * update, 1e-5, 1e-6));
}

}  // namespace
}  // namespace csm::train

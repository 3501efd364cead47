#include "torch/recompute.h"

#include <utility>

#include "torch/autocast.h"

namespace csm::train {
namespace {

at::Generator RandomNumbers(const torch::Device& device) {
  return at::globalContext().defaultGenerator(device);
}

// What the second computation needs beside x.
struct Recomputation : torch::CustomClassHolder {
  Layer layer;
  torch::Tensor random_state;
  bool is_autocast = false;
};

// The generator as it was while this lives; then as it was before.
class RandomStateGuard {
 public:
  RandomStateGuard(const torch::Tensor& state, const torch::Device& device)
      : generator_(RandomNumbers(device)) {
    was_ = generator_.get_state();
    generator_.set_state(state);
  }
  ~RandomStateGuard() { generator_.set_state(was_); }
  RandomStateGuard(const RandomStateGuard&) = delete;
  RandomStateGuard& operator=(const RandomStateGuard&) = delete;

 private:
  at::Generator generator_;
  torch::Tensor was_;
};

class RecomputeFunction : public torch::autograd::Function<RecomputeFunction> {
 public:
  // Autograd records nothing in here.
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x,
                               Layer layer) {
    auto again = c10::make_intrusive<Recomputation>();
    again->random_state = RandomNumbers(x.device()).get_state();
    again->is_autocast = Autocast::IsEnabled(x.device().type());
    torch::Tensor y = layer(x);
    again->layer = std::move(layer);
    context->saved_data["again"] = c10::IValue::make_capsule(std::move(again));
    context->save_for_backward({x});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto capsule = context->saved_data["again"].toCapsule();
    const auto* again = static_cast<const Recomputation*>(capsule.get());
    const torch::Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
    torch::Tensor y;
    {
      const torch::AutoGradMode grad_mode(true);
      const RandomStateGuard random_state(again->random_state, x.device());
      const Autocast autocast(again->is_autocast, x.device().type());
      y = again->layer(x);
    }
    torch::autograd::backward({y}, {gradients[0]});
    return {x.grad(), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor Recompute(const torch::Tensor& x, Layer layer) {
  return RecomputeFunction::apply(x, std::move(layer));
}

}  // namespace csm::train

#include "model/linear.h"

#include <array>
#include <cassert>

namespace csm::model {
namespace {

constexpr size_t kMostLayers = 3;  // query, key and value

}  // namespace

Linear LoadLinear(checkpoint::WeightLoader& loader, const std::string& name, int64_t outputs,
                  int64_t inputs, bool has_bias) {
  Linear linear{.weight = loader.Matrix(name + ".weight", outputs, inputs)};
  if (has_bias) linear.bias = loader.Vector(name + ".bias", outputs).data();
  if (const auto term = loader.Term(name + ".weight")) {
    linear.a = term->a;
    linear.b = term->b;
  }
  return linear;
}

void Multiply(const kernels::RowsView& x, std::span<const LinearOutput> outputs,
              std::vector<float>& scratch, ThreadPool& pool) {
  assert(outputs.size() <= kMostLayers);
  std::array<kernels::Product, kMostLayers> products;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto& [layer, y, accumulate] = outputs[i];
    products[i] = {layer.weight, layer.bias, y, layer.weight.rows, accumulate};
  }
  kernels::MatMul(x, std::span(products).first(outputs.size()), pool);
  for (const auto& [layer, y, accumulate] : outputs) {
    if (!layer.has_term()) continue;
    const size_t rank = layer.a.rows;
    if (scratch.size() < x.num_rows * rank) scratch.resize(x.num_rows * rank);
    kernels::MatMul(x, {layer.a, nullptr, scratch.data(), rank}, pool);
    kernels::MatMul({scratch.data(), x.num_rows, rank},
                    {layer.b, nullptr, y, layer.weight.rows, /*accumulate=*/true}, pool);
  }
}

}  // namespace csm::model

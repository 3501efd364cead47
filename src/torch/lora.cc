#include "torch/lora.h"

#include <cmath>
#include <cstring>
#include <map>
#include <sstream>

#include "base/error.h"
#include "checkpoint/adapter.h"
#include "checkpoint/safetensors.h"

namespace csm::train {
namespace {

std::vector<std::string> Targets(const TrainOptions& options) {
  std::vector<std::string> names;
  std::istringstream list(options.lora_target_modules);
  for (std::string name; std::getline(list, name, ',');) {
    if (!name.empty()) names.push_back(name);
  }
  if (names.empty()) Fail<ArgumentError>("lora_target_modules is empty; e.g. q_proj,v_proj");
  return names;
}

// Layers of the two stacks whose last name is `target`, by their whole name.
std::map<std::string, LinearImpl*> Layers(CsmForConditionalGeneration& model,
                                          const std::string& target) {
  std::map<std::string, LinearImpl*> layers;
  for (const auto& item : model->named_modules()) {
    auto* linear = item.value()->as<LinearImpl>();
    if (linear != nullptr && item.key().ends_with("." + target)) layers[item.key()] = linear;
  }
  return layers;
}

std::vector<float> Values(const torch::Tensor& tensor) {
  const torch::Tensor copy = tensor.detach().to(torch::kCPU, torch::kFloat32).contiguous();
  const auto* data = copy.data_ptr<float>();
  return {data, data + copy.numel()};
}

}  // namespace

void AddAdapter(CsmForConditionalGeneration& model, const TrainOptions& options) {
  for (auto& item : model->named_parameters()) item.value().set_requires_grad(false);
  const torch::NoGradGuard no_grad;
  torch::manual_seed(static_cast<uint64_t>(options.seed));
  for (const std::string& target : Targets(options)) {
    const auto layers = Layers(model, target);
    if (layers.empty()) {
      Fail<ArgumentError>(
          "lora_target_modules: no layer is called '{}'; there are q_proj, k_proj, "
          "v_proj, o_proj, gate_proj, up_proj, down_proj, inputs_embeds_projector",
          target);
    }
    for (const auto& [name, layer] : layers) {
      layer->Adapt(options.lora_r, options.lora_alpha, options.lora_dropout);
      // kaiming_uniform with a = sqrt(5), as peft has it.
      const double bound = 1 / std::sqrt(static_cast<double>(layer->weight.size(1)));
      layer->lora_a().weight.uniform_(-bound, bound);
      layer->lora_b().weight.zero_();
    }
  }
}

void SaveAdapter(CsmForConditionalGeneration& model, const TrainOptions& options,
                 const std::string& base_model, const std::filesystem::path& dir) {
  std::map<std::string, checkpoint::LowRank, std::less<>> terms;
  for (const std::string& target : Targets(options)) {
    for (const auto& [name, layer] : Layers(model, target)) {
      terms[name + ".weight"] = {.outputs = layer->weight.size(0),
                                 .inputs = layer->weight.size(1),
                                 .rank = options.lora_r,
                                 .a = Values(layer->lora_a().weight),
                                 .b = Values(layer->lora_b().weight),
                                 .scale = layer->scale()};
    }
  }
  checkpoint::WriteAdapter(dir,
                           {.rank = options.lora_r,
                            .alpha = options.lora_alpha,
                            .dropout = options.lora_dropout,
                            .target_modules = Targets(options),
                            .base_model = base_model},
                           terms);
}

void LoadAdapter(const std::filesystem::path& dir, CsmForConditionalGeneration& model) {
  const checkpoint::SafetensorsFile file(dir / "adapter_model.safetensors");
  const torch::NoGradGuard no_grad;
  for (auto& item : model->named_parameters()) {
    if (item.key().find(".lora_") == std::string::npos) continue;
    const std::string name = "base_model.model." + item.key();
    const checkpoint::TensorView* stored = file.Find(name);
    if (stored == nullptr || stored->shape != item.value().sizes().vec() ||
        stored->dtype != DType::kF32) {
      Fail<FormatError>("{} does not fit this run: {} is missing or of another shape",
                        file.path().string(), name);
    }
    std::memcpy(item.value().data_ptr(), stored->bytes.data(), stored->bytes.size());
  }
}

}  // namespace csm::train

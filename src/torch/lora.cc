#include "torch/lora.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "torch/parameters.h"

namespace csm::train {
namespace {

std::vector<std::string> Targets(const TrainOptions& options) {
  std::vector<std::string> names;
  std::istringstream list(options.lora_target_modules);
  for (std::string name; std::getline(list, name, ',');) {
    name.erase(0, name.find_first_not_of(' '));
    name.erase(name.find_last_not_of(' ') + 1);
    const bool is_new = std::find(names.begin(), names.end(), name) == names.end();
    if (!name.empty() && is_new) names.push_back(name);
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
      if (layer->is_adapted()) continue;  // "self_attn.q_proj" after "q_proj"
      layer->Adapt(options.lora_r, options.lora_alpha, options.lora_dropout);
      // kaiming_uniform with a = sqrt(5), as peft has it.
      const double bound = 1 / std::sqrt(static_cast<double>(layer->weight.size(1)));
      layer->lora_a().weight.uniform_(-bound, bound);
      layer->lora_b().weight.zero_();
    }
  }
}

std::map<std::string, checkpoint::LowRank, std::less<>> AdapterTerms(
    CsmForConditionalGeneration& model, const TrainOptions& options) {
  std::map<std::string, checkpoint::LowRank, std::less<>> terms;
  for (const std::string& target : Targets(options)) {
    for (const auto& [name, layer] : Layers(model, target)) {
      terms[name + ".weight"] = {.outputs = layer->weight.size(0),
                                 .inputs = layer->weight.size(1),
                                 .rank = options.lora_r,
                                 .a = Values(layer->lora_a().weight),
                                 .b = Values(layer->lora_b().weight),
                                 .scale = options.lora_alpha / static_cast<double>(options.lora_r)};
    }
  }
  return terms;
}

void SaveAdapter(CsmForConditionalGeneration& model, const TrainOptions& options,
                 const std::string& base_model, const std::filesystem::path& dir) {
  checkpoint::WriteAdapter(dir,
                           {.rank = options.lora_r,
                            .alpha = options.lora_alpha,
                            .dropout = options.lora_dropout,
                            .target_modules = Targets(options),
                            .base_model = base_model},
                           AdapterTerms(model, options));
}

void LoadAdapter(const std::filesystem::path& dir, CsmForConditionalGeneration& model) {
  const checkpoint::SafetensorsFile file(dir / checkpoint::kAdapterTensors);
  const torch::NoGradGuard no_grad;
  for (auto& item : model->named_parameters()) {
    if (item.key().find(".lora_") == std::string::npos) continue;
    CopyStored(file, std::string(checkpoint::kAdapterPrefix) + item.key(), item.value());
  }
}

}  // namespace csm::train

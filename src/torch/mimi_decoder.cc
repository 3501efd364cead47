#include "torch/mimi_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "checkpoint/config_rules.h"

namespace csm::train {
namespace {

constexpr double kMinClusterUsage = 1e-5;  // HF's epsilon

// As mimi/seanet.cc: HF numbers the layers of a SEANet end through, activations included.
std::string LayerName(const MimiConfig& config, int64_t stage, int64_t i) {
  const int64_t layers_per_stage = config.num_residual_layers + 2;
  return fmt::format("decoder.layers.{}", 1 + stage * layers_per_stage + i);
}

}  // namespace

CodebookTables::CodebookTables(CodecWeights& weights, int64_t num_codebooks)
    : num_codebooks_(num_codebooks) {
  const int64_t semantic = std::min(num_codebooks, weights.config().num_semantic_quantizers);
  AddGroup(weights, "quantizer.semantic_residual_vector_quantizer.", 0, semantic);
  if (num_codebooks > semantic) {
    AddGroup(weights, "quantizer.acoustic_residual_vector_quantizer.", semantic,
             num_codebooks - semantic);
  }
}

void CodebookTables::AddGroup(CodecWeights& weights, const std::string& name, int64_t first,
                              int64_t count) {
  Group group{first, {}, {}};
  std::vector<torch::Tensor> tables;
  for (int64_t k = 0; k < count; ++k) {
    const std::string codebook = fmt::format("{}layers.{}.codebook.", name, k);
    const torch::Tensor usage =
        weights.Load(codebook + "cluster_usage").clamp_min(kMinClusterUsage);
    tables.push_back(weights.Load(codebook + "embed_sum") / usage.unsqueeze(1));
  }
  group.vectors = torch::stack(tables);
  const MimiConfig& config = weights.config();
  if (config.vector_quantization_hidden_dimension != config.hidden_size) {
    group.output = weights.Get(name + "output_proj.weight").squeeze(2);
  }
  groups_.push_back(std::move(group));
}

torch::Tensor CodebookTables::Decode(const torch::Tensor& codes) const {
  torch::Tensor latents;
  for (const Group& group : groups_) {
    const int64_t count = group.vectors.size(0), size = group.vectors.size(1);
    const torch::Tensor rows =
        codes.narrow(1, group.first, count) + torch::arange(count, codes.options()) * size;
    torch::Tensor sum = torch::embedding(group.vectors.flatten(0, 1), rows).sum(1);
    if (group.output.defined()) sum = torch::linear(sum, group.output);
    latents = latents.defined() ? latents + sum : sum;
  }
  return latents.unsqueeze(2);
}

MimiDecoder::MimiDecoder(CodecWeights& weights, std::shared_ptr<const CodebookTables> codebooks,
                         int64_t rows)
    : codebooks_(std::move(codebooks)),
      upsample_(weights, "upsample.conv",
                {.rows = rows,
                 .stride = checkpoint::LatentStride(weights.config()),
                 .groups = weights.config().upsample_groups,
                 .bias = false}),
      transformer_(weights, "decoder_transformer.", rows,
                   checkpoint::LatentStride(weights.config())),
      first_(weights, "decoder.layers.0.conv", {.rows = rows, .replicates = weights.replicates()}),
      last_(
          weights,
          LayerName(weights.config(), std::ssize(weights.config().upsampling_ratios), 1) + ".conv",
          {.rows = rows, .elu = true, .replicates = weights.replicates()}) {
  const MimiConfig& config = weights.config();
  for (int64_t i = 0; i < std::ssize(config.upsampling_ratios); ++i) {
    const int64_t ratio = config.upsampling_ratios[static_cast<size_t>(i)];
    Stage stage{StreamConvTranspose(weights, LayerName(config, i, 1) + ".conv",
                                    {.rows = rows, .stride = ratio, .elu = true}),
                {}};
    int64_t dilation = 1;
    for (int64_t j = 0; j < config.num_residual_layers; ++j) {
      stage.blocks.emplace_back(weights, LayerName(config, i, 2 + j), rows, dilation);
      dilation *= config.dilation_growth_rate;
    }
    stages_.push_back(std::move(stage));
  }
}

torch::Tensor MimiDecoder::Step(const torch::Tensor& codes, const torch::Tensor& is_new) {
  const torch::Tensor starts = is_new.view({-1, 1, 1});
  torch::Tensor x = upsample_.Step(codebooks_->Decode(codes), starts);
  x = first_.Step(transformer_.Step(x, starts), starts);
  for (Stage& stage : stages_) {
    x = stage.upsample.Step(x, starts);
    for (StreamResnetBlock& block : stage.blocks) x = block.Step(x, starts);
  }
  return last_.Step(x, starts).flatten(1);
}

MimiProgram::MimiProgram(CodecWeights& weights, std::shared_ptr<const CodebookTables> codebooks,
                         int64_t rows)
    : recorder_(NewRecorder(weights.options().device())) {
  const torch::Device device = weights.options().device();
  host_codes_ = recorder_->HostTensor({rows, codebooks->num_codebooks()}, torch::kInt64);
  host_is_new_ = recorder_->HostTensor({rows}, torch::kBool);
  host_samples_ = recorder_->HostTensor({rows, weights.config().frame_size()}, torch::kFloat32);
  decoder_ = std::make_unique<MimiDecoder>(weights, std::move(codebooks), rows);
  codes_ = host_codes_.clone().to(device);
  is_new_ = host_is_new_.clone().to(device);
  samples_ = host_samples_.clone().to(device);
  const auto step = [this] {
    recorder_->Copy(host_codes_, codes_);
    recorder_->Copy(host_is_new_, is_new_);
    samples_.copy_(decoder_->Step(codes_, is_new_));
    recorder_->Copy(samples_, host_samples_);
  };
  recorder_->Record(step, [] {});
}

void MimiProgram::Step() {
  recorder_->PlayFirst();
  recorder_->WaitForFirst();
}

}  // namespace csm::train

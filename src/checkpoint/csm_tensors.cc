#include "checkpoint/csm_tensors.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"
#include "checkpoint/config_rules.h"
#include "checkpoint/safetensors_header.h"

namespace csm::checkpoint {
namespace {

using Specs = std::vector<TensorSpec>;

void AddLinear(Specs& specs, const std::string& name, int64_t out, int64_t in, bool bias) {
  specs.push_back({name + ".weight", {out, in}});
  if (bias) specs.push_back({name + ".bias", {out}});
}

void AddConv(Specs& specs, const std::string& name, std::vector<int64_t> shape, int64_t out) {
  specs.push_back({name + ".weight", std::move(shape)});
  specs.push_back({name + ".bias", {out}});
}

// Llama and Mimi attention alike: [heads * head_dim, hidden] and back.
template <typename Config>
void AddAttention(Specs& specs, const std::string& name, const Config& config) {
  const int64_t query = config.num_attention_heads * config.head_dim;
  const int64_t key = config.num_key_value_heads * config.head_dim;
  AddLinear(specs, name + "q_proj", query, config.hidden_size, config.attention_bias);
  AddLinear(specs, name + "k_proj", key, config.hidden_size, config.attention_bias);
  AddLinear(specs, name + "v_proj", key, config.hidden_size, config.attention_bias);
  AddLinear(specs, name + "o_proj", config.hidden_size, query, config.attention_bias);
}

void AddLlama(Specs& specs, const std::string& prefix, const LlamaConfig& config) {
  const int64_t hidden = config.hidden_size;
  const int64_t ffn = config.intermediate_size;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = fmt::format("{}layers.{}.", prefix, i);
    AddAttention(specs, layer + "self_attn.", config);
    AddLinear(specs, layer + "mlp.gate_proj", ffn, hidden, config.mlp_bias);
    AddLinear(specs, layer + "mlp.up_proj", ffn, hidden, config.mlp_bias);
    AddLinear(specs, layer + "mlp.down_proj", hidden, ffn, config.mlp_bias);
    specs.push_back({layer + "input_layernorm.weight", {hidden}});
    specs.push_back({layer + "post_attention_layernorm.weight", {hidden}});
  }
  specs.push_back({prefix + "norm.weight", {hidden}});
}

// x + conv1(ELU(conv3(ELU x))): dim -> dim / compress -> dim.
void AddResnetBlocks(Specs& specs, const std::string& prefix, int64_t& layer, int64_t dim,
                     const MimiConfig& config) {
  const int64_t inner = dim / config.compress;
  for (int64_t j = 0; j < config.num_residual_layers; ++j, ++layer) {
    const std::string block = fmt::format("{}{}.", prefix, layer);
    AddConv(specs, block + "block.1.conv", {inner, dim, config.residual_kernel_size}, inner);
    AddConv(specs, block + "block.3.conv", {dim, inner, 1}, dim);
    if (config.use_conv_shortcut) AddConv(specs, block + "shortcut.conv", {dim, dim, 1}, dim);
  }
}

// SEANet's layers are numbered with their activations: an ELU takes a number but has no tensor.
void AddEncoder(Specs& specs, const std::string& prefix, const MimiConfig& config) {
  const auto name = [&](int64_t layer) { return fmt::format("{}{}.conv", prefix, layer); };
  int64_t layer = 0;
  int64_t channels = config.num_filters;
  AddConv(specs, name(layer++), {channels, config.audio_channels, config.kernel_size}, channels);
  for (auto ratio = config.upsampling_ratios.rbegin(); ratio != config.upsampling_ratios.rend();
       ++ratio) {
    AddResnetBlocks(specs, prefix, layer, channels, config);
    ++layer;  // ELU
    AddConv(specs, name(layer++), {channels * 2, channels, *ratio * 2}, channels * 2);
    channels *= 2;
  }
  ++layer;  // ELU
  AddConv(specs, name(layer), {config.hidden_size, channels, config.last_kernel_size},
          config.hidden_size);
}

void AddDecoder(Specs& specs, const std::string& prefix, const MimiConfig& config) {
  const auto name = [&](int64_t layer) { return fmt::format("{}{}.conv", prefix, layer); };
  int64_t layer = 0;
  int64_t channels = config.num_filters << config.upsampling_ratios.size();
  AddConv(specs, name(layer++), {channels, config.hidden_size, config.kernel_size}, channels);
  for (const int64_t ratio : config.upsampling_ratios) {
    ++layer;  // ELU
    // A transposed convolution's weight is [in, out, kernel].
    AddConv(specs, name(layer++), {channels, channels / 2, ratio * 2}, channels / 2);
    channels /= 2;
    AddResnetBlocks(specs, prefix, layer, channels, config);
  }
  ++layer;  // ELU
  AddConv(specs, name(layer), {config.audio_channels, channels, config.last_kernel_size},
          config.audio_channels);
}

void AddMimiTransformer(Specs& specs, const std::string& prefix, const MimiConfig& config) {
  const int64_t hidden = config.hidden_size;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = fmt::format("{}layers.{}.", prefix, i);
    AddAttention(specs, layer + "self_attn.", config);
    AddLinear(specs, layer + "mlp.fc1", config.intermediate_size, hidden, false);
    AddLinear(specs, layer + "mlp.fc2", hidden, config.intermediate_size, false);
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
      specs.push_back({layer + norm + ".weight", {hidden}});
      specs.push_back({layer + norm + ".bias", {hidden}});
    }
    specs.push_back({layer + "self_attn_layer_scale.scale", {hidden}});
    specs.push_back({layer + "mlp_layer_scale.scale", {hidden}});
  }
}

void AddQuantizer(Specs& specs, const std::string& prefix, int64_t num_codebooks,
                  const MimiConfig& config) {
  const int64_t inner = config.vector_quantization_hidden_dimension;
  if (inner != config.hidden_size) {
    specs.push_back({prefix + "input_proj.weight", {inner, config.hidden_size, 1}});
    specs.push_back({prefix + "output_proj.weight", {config.hidden_size, inner, 1}});
  }
  for (int64_t k = 0; k < num_codebooks; ++k) {
    const std::string codebook = fmt::format("{}layers.{}.codebook.", prefix, k);
    specs.push_back({codebook + "cluster_usage", {config.codebook_size}});
    specs.push_back({codebook + "embed_sum", {config.codebook_size, config.codebook_dim}});
  }
}

// The problems found, the first of them as sentences.
class Problems {
 public:
  template <typename... Args>
  void Add(fmt::format_string<Args...> format, Args&&... args) {
    if (count_++ >= kMaxShown) return;
    text_ += "\n  " + fmt::format(format, std::forward<Args>(args)...);
  }
  int count() const { return count_; }
  std::string Text() const {
    return count_ <= kMaxShown ? text_
                               : fmt::format("{}\n  and {} more", text_, count_ - kMaxShown);
  }

 private:
  static constexpr int kMaxShown = 1000;  // csm-1b has 538 tensors; a hostile file any number
  int count_ = 0;
  std::string text_;
};

}  // namespace

std::vector<TensorSpec> MimiTensors(const MimiConfig& config, const std::string& prefix) {
  Specs specs;
  AddEncoder(specs, prefix + "encoder.layers.", config);
  AddMimiTransformer(specs, prefix + "encoder_transformer.", config);
  const int64_t hidden = config.hidden_size;
  const int64_t kernel = 2 * LatentStride(config);
  specs.push_back({prefix + "downsample.conv.weight", {hidden, hidden, kernel}});
  const std::string quantizer = prefix + "quantizer.";
  const int64_t semantic = config.num_semantic_quantizers;
  AddQuantizer(specs, quantizer + "semantic_residual_vector_quantizer.", semantic, config);
  AddQuantizer(specs, quantizer + "acoustic_residual_vector_quantizer.",
               config.num_quantizers - semantic, config);
  specs.push_back(
      {prefix + "upsample.conv.weight", {hidden, hidden / config.upsample_groups, kernel}});
  AddMimiTransformer(specs, prefix + "decoder_transformer.", config);
  AddDecoder(specs, prefix + "decoder.layers.", config);
  return specs;
}

std::vector<TensorSpec> CsmTensors(const CsmConfig& config) {
  const CsmDepthDecoderConfig& depth = config.depth_decoder_config;
  const int64_t num_codes = config.num_codebooks * config.vocab_size;
  Specs specs;
  specs.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}});
  specs.push_back({"embed_text_tokens.weight", {config.text_vocab_size, config.hidden_size}});
  specs.push_back({kBackboneCodeEmbedding, {num_codes, config.hidden_size}});
  AddLlama(specs, "backbone_model.", config);
  specs.push_back({kDepthCodeEmbedding, {num_codes, depth.backbone_hidden_size}});
  specs.push_back({"depth_decoder.model.inputs_embeds_projector.weight",
                   {depth.hidden_size, depth.backbone_hidden_size}});
  AddLlama(specs, "depth_decoder.model.", depth);
  specs.push_back({kCodebooksHead, {depth.num_codebooks - 1, depth.hidden_size, depth.vocab_size}});
  Specs codec = MimiTensors(config.codec_config, kCodecPrefix);
  std::move(codec.begin(), codec.end(), std::back_inserter(specs));
  return specs;
}

bool IsIgnoredTensor(std::string_view name) {
  return name.ends_with(".codebook.initialized") || name.ends_with("rotary_emb.inv_freq");
}

bool IsModelMatrix(const TensorView& tensor) {
  return tensor.shape.size() > 1 && !tensor.name.starts_with(kCodecPrefix);
}

bool IsCodecDecoderMatrix(const TensorView& tensor) {
  if (tensor.shape.size() < 2 || !tensor.name.starts_with(kCodecPrefix)) return false;
  const std::string_view name = std::string_view(tensor.name).substr(sizeof kCodecPrefix - 1);
  return name.starts_with("decoder") || name.starts_with("upsample");
}

void CheckTensors(const TensorStore& store, const std::vector<TensorSpec>& specs,
                  const std::string& prefix) {
  Problems problems;
  std::set<std::string_view> expected;
  for (const TensorSpec& spec : specs) {
    expected.insert(spec.name);
    const TensorView* tensor = store.Find(spec.name);
    if (tensor == nullptr) {
      problems.Add("missing {}, expected shape [{}]", spec.name, fmt::join(spec.shape, ", "));
    } else if (tensor->shape != spec.shape) {
      problems.Add("{} has shape [{}], expected [{}]", spec.name, fmt::join(tensor->shape, ", "),
                   fmt::join(spec.shape, ", "));
    } else if (!tensor->other_dtype.empty()) {
      problems.Add("{} has type {}, expected F32, F16 or BF16{}", spec.name, tensor->other_dtype,
                   store.HasTransposedHeads() ? ", Q8_0 or IQ4_NL in a matrix" : "");
    }
  }
  for (const std::string& name : store.Names()) {
    if (!name.starts_with(prefix) || expected.contains(name) || IsIgnoredTensor(name)) continue;
    problems.Add("extra {}, shape [{}]", QuoteName(name), fmt::join(store.Find(name)->shape, ", "));
  }
  if (problems.count() > 0) {
    Fail<FormatError>("{} does not fit its config.json, {} of its tensors differ:{}",
                      store.path().string(), problems.count(), problems.Text());
  }
}

}  // namespace csm::checkpoint

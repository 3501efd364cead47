// csm info: what a checkpoint is and what running it takes.
#include <array>
#include <map>
#include <memory>

#include "base/error.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/model_dir.h"
#include "cli/commands.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "kernels/matrix_view.h"

namespace csm::cli {
namespace {

struct InfoOptions {
  ModelOptions model;
  bool json = false;
};

/// Parts of the model by the beginning of their tensors' names; the first that fits counts.
struct Part {
  std::string_view prefix;
  std::string_view name;
};
constexpr std::array kParts = {
    Part{"embed_text_tokens.", "text embedding"},
    Part{"depth_decoder.", "depth decoder"},
    Part{"codec_model.", "codec"},
    Part{"", "backbone"},
};

struct Size {
  int64_t parameters = 0;
  int64_t bytes = 0;
};

struct Info {
  std::map<std::string_view, Size> parts;
  std::map<std::string_view, Size> types;
  Size total;
  int64_t cache_bytes_per_position = 0;
};

std::string_view TypeName(const checkpoint::TensorView& tensor) {
  return tensor.other_dtype.empty() ? kernels::NameOf(tensor.dtype) : tensor.other_dtype;
}

std::string_view PartOf(std::string_view tensor) {
  for (const Part& part : kParts) {
    if (tensor.starts_with(part.prefix)) return part.name;
  }
  return "";
}

Info Measure(const checkpoint::CsmCheckpoint& model) {
  Info info;
  for (const std::string& name : model.tensors->Names()) {
    const checkpoint::TensorView* tensor = model.tensors->Find(name);
    Size size{1, std::ssize(tensor->bytes)};
    for (const int64_t dim : tensor->shape) size.parameters *= dim;
    for (Size* sum : {&info.parts[PartOf(name)], &info.types[TypeName(*tensor)], &info.total}) {
      sum->parameters += size.parameters;
      sum->bytes += size.bytes;
    }
  }
  const LlamaConfig& backbone = model.config;
  info.cache_bytes_per_position = backbone.num_hidden_layers * 2 * backbone.num_key_value_heads *
                                  backbone.head_dim * static_cast<int64_t>(sizeof(float));
  return info;
}

std::string FormatBytes(int64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024.0 && unit + 1 < kUnits.size(); ++unit) value /= 1024.0;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string DescribeStack(const LlamaConfig& config) {
  return fmt::format(
      "{} layers of width {}, {} heads ({} for keys and values) of {}, feed-forward {}",
      config.num_hidden_layers, config.hidden_size, config.num_attention_heads,
      config.num_key_value_heads, config.head_dim, config.intermediate_size);
}

std::string_view DescribeTying(const checkpoint::CodeEmbeddingNames& names) {
  return names.backbone == names.depth_decoder ? "shared by backbone and depth decoder"
                                               : "of backbone and depth decoder apart";
}

std::string DescribeRope(const RopeParameters& rope) {
  if (rope.rope_type == "default") return fmt::format("theta {}", rope.rope_theta);
  return fmt::format("{}, theta {}, factor {} from {} positions on", rope.rope_type,
                     rope.rope_theta, rope.factor, rope.original_max_position_embeddings);
}

/// "name value" for each generation default that is not as transformers has it anyway.
std::string DescribeDefaults(const GenerationConfig& config) {
  std::string text;
  const Json set = checkpoint::ToJson(config);
  for (const auto& [key, value] : set.items()) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, value.dump());
  }
  return text.empty() ? "greedy" : text;
}

void PrintText(const checkpoint::CsmCheckpoint& model, const Info& info) {
  const CsmConfig& config = model.config;
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<16}{}\n", name, value);
  };
  line("model", model.dir.string());
  line("backbone", DescribeStack(config));
  line("", DescribeRope(config.rope_parameters));
  line("depth decoder", DescribeStack(config.depth_decoder_config));
  line("", DescribeRope(config.depth_decoder_config.rope_parameters));
  line("codec", fmt::format("{} layers of width {}, {} codebooks, {} Hz, {} frames/s",
                            config.codec_config.num_hidden_layers, config.codec_config.hidden_size,
                            config.codec_config.num_quantizers, config.codec_config.sampling_rate,
                            config.codec_config.frame_rate));
  line("frame", fmt::format("{} codes of {}, embeddings {}", config.num_codebooks,
                            config.vocab_size, DescribeTying(model.code_embeddings)));
  line("text", fmt::format("{} tokens", config.text_vocab_size));
  line("positions", fmt::format("{}, prompt and speech together ({:.0f} s of audio at most)",
                                config.max_position_embeddings,
                                static_cast<double>(config.max_position_embeddings) /
                                    config.codec_config.frame_rate));
  line("defaults", DescribeDefaults(model.generation_config));
  text += "\n";
  const auto row = [&](std::string_view name, const Size& size) {
    line(name, fmt::format("{:>14} parameters {:>12}", size.parameters, FormatBytes(size.bytes)));
  };
  for (const auto& [name, size] : info.parts) row(name, size);
  for (const auto& [name, size] : info.types) row(fmt::format("as {}", name), size);
  row("total", info.total);
  text += "\n";
  line("memory",
       fmt::format("{} for weights as stored, {} per position of a sequence, {} for all {}",
                   FormatBytes(info.total.bytes), FormatBytes(info.cache_bytes_per_position),
                   FormatBytes(info.cache_bytes_per_position * config.max_position_embeddings),
                   config.max_position_embeddings));
  WriteStandardOutput(text);
}

void PrintJson(const checkpoint::CsmCheckpoint& model, const Info& info) {
  Json json;
  json["model"] = model.dir.string();
  const auto write = [](const std::map<std::string_view, Size>& sizes) {
    Json object = Json::object();
    for (const auto& [name, size] : sizes) {
      object[std::string(name)] = {{"parameters", size.parameters}, {"bytes", size.bytes}};
    }
    return object;
  };
  json["parts"] = write(info.parts);
  json["types"] = write(info.types);
  json["parameters"] = info.total.parameters;
  json["bytes"] = info.total.bytes;
  json["cache_bytes_per_position"] = info.cache_bytes_per_position;
  json["max_position_embeddings"] = model.config.max_position_embeddings;
  WriteStandardOutput(json.dump(2) + "\n");
}

int Run(const InfoOptions& options) {
  const checkpoint::CsmCheckpoint model = checkpoint::OpenCsmCheckpoint(options.model.Dir());
  const Info info = Measure(model);
  if (options.json) {
    PrintJson(model, info);
  } else {
    PrintText(model, info);
  }
  return kExitOk;
}

}  // namespace

void AddInfo(CLI::App& app, Action& action) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App* command = app.add_subcommand("info", "Print a checkpoint's sizes, types and memory");
  options->model.AddModelTo(*command);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &action] { action = [options] { return Run(*options); }; });
}

}  // namespace csm::cli

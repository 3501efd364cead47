#include "checkpoint/adapter.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <optional>
#include <regex>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/pages.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/json_file.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/tensor_values.h"
#include "kernels/matrix_view.h"

namespace csm::checkpoint {
namespace {

constexpr char kConfigFile[] = "adapter_config.json";
constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight";

void CheckText(const Json& config, const char* key, std::string_view expected,
               const std::string& file) {
  const auto value = config.find(key);
  if (value == config.end() || *value == expected) return;
  Fail<FormatError>("{}: {} is {}; {} is what can be read", file, key, value->dump(), expected);
}

// What a folder may ask for that is no low-rank term.
void CheckKind(const Json& config, const std::string& file) {
  CheckText(config, "peft_type", "LORA", file);
  CheckText(config, "bias", "none", file);
  for (const char* key : {"use_dora", "fan_in_fan_out", "use_qalora", "lora_bias", "use_bdlora"}) {
    if (config.contains(key) && config[key] == true) {
      Fail<FormatError>("{}: {} is not supported", file, key);
    }
  }
  // These change the weights that the terms are added to.
  const auto init = config.find("init_lora_weights");
  for (const char* kind : {"pissa", "olora", "corda", "loftq"}) {
    if (init == config.end() || !init->is_string()) break;
    if (const auto& name = init->get_ref<const std::string&>(); name.starts_with(kind)) {
      Fail<FormatError>(
          "{}: init_lora_weights is {}, whose terms belong to other base weights; "
          "convert it with peft first",
          file, name);
    }
  }
  for (const char* key :
       {"modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication"}) {
    if (config.contains(key) && !config[key].is_null() && !config[key].empty()) {
      Fail<FormatError>("{}: {} is set; only low-rank terms can be read", file, key);
    }
  }
}

std::vector<float> Values(const TensorView& tensor) {
  std::vector<float> values(NumElements(tensor));
  ConvertElements(tensor, 0, values.size(), values.data(), DType::kF32);
  return values;
}

std::vector<float> FiniteValues(const TensorView& tensor, const std::string& file) {
  std::vector<float> values = Values(tensor);
  if (std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) {
    return values;
  }
  Fail<FormatError>("{}: {} holds a value that is not a finite number", file, tensor.name);
}

double Number(const Json& value, std::string_view key, const std::string& file) {
  if (!value.is_number()) {
    Fail<FormatError>("{}: {} is {}; it should be a number", file, key, JsonTypeName(value));
  }
  return value.get<double>();
}

// A module's number: that of the first fitting expression in `patterns`, as peft matches them, else
// the common one, if there is one.
std::optional<double> NumberOf(const Json& config, const std::string& module, const char* patterns,
                               const char* common, const std::string& file) {
  if (const auto found = config.find(patterns); found != config.end() && !found->is_null()) {
    if (!found->is_object()) {
      Fail<FormatError>("{}: {} is {}; it should be an object", file, patterns,
                        JsonTypeName(*found));
    }
    for (const auto& [key, value] : found->items()) {
      if (std::regex_match(module, std::regex("(.*\\.)?(" + key + ")"))) {
        return Number(value, fmt::format("{}.{}", patterns, key), file);
      }
    }
  }
  const auto value = config.find(common);
  if (value == config.end()) return std::nullopt;
  return Number(*value, common, file);
}

bool IsZero(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return v == 0; });
}

LowRank ReadTerm(const SafetensorsFile& file, const TensorView& a, const std::string& module,
                 const Json& config, const std::string& config_file) {
  const TensorView* b = file.Find(fmt::format("{}{}{}", kAdapterPrefix, module, kB));
  if (b == nullptr) Fail<FormatError>("{}: {} has no {}", file.path().string(), a.name, kB);
  if (!a.other_dtype.empty() || !b->other_dtype.empty() || a.shape.size() != 2 ||
      b->shape.size() != 2 || a.shape[0] != b->shape[1] || a.shape[0] == 0) {
    Fail<FormatError>("{}: lora_A and lora_B of {} do not make a matrix", file.path().string(),
                      module);
  }
  const std::string path = file.path().string();
  LowRank term{b->shape[0], a.shape[1], a.shape[0], FiniteValues(a, path), FiniteValues(*b, path)};
  const auto rank = static_cast<double>(term.rank);
  if (const auto r = NumberOf(config, module, "rank_pattern", "r", config_file);
      r.value_or(rank) != rank) {
    Fail<FormatError>("{}: the rank of {} is {}; its matrices have {}", config_file, module, *r,
                      term.rank);
  }
  const bool is_rank_stabilized = config.value("use_rslora", false);
  term.scale = NumberOf(config, module, "alpha_pattern", "lora_alpha", config_file).value_or(8.0) /
               (is_rank_stabilized ? std::sqrt(rank) : rank);
  return term;
}

std::map<std::string, LowRank, std::less<>> ReadTerms(const SafetensorsFile& file,
                                                      const Json& config,
                                                      const std::string& config_file) {
  std::map<std::string, LowRank, std::less<>> terms;
  size_t num_b = 0, num_a = 0;
  for (const std::string& name : file.Names()) {
    if (name.ends_with(kB) && name.starts_with(kAdapterPrefix)) {
      ++num_b;
      continue;
    }
    if (!name.ends_with(kA) || !name.starts_with(kAdapterPrefix)) {
      Fail<FormatError>("{}: {} is not part of a low-rank term", file.path().string(),
                        QuoteName(name));
    }
    ++num_a;
    const std::string module =
        name.substr(kAdapterPrefix.size(), name.size() - kAdapterPrefix.size() - kA.size());
    LowRank term = ReadTerm(file, *file.Find(name), module, config, config_file);
    // peft adapts the codec's layers too if their names fit; training never changes these.
    if (!IsZero(term.b)) terms.emplace(module + ".weight", std::move(term));
  }
  if (num_a != num_b || num_a == 0) {
    Fail<FormatError>("{} holds {} lora_A and {} lora_B; each term has one of both",
                      file.path().string(), num_a, num_b);
  }
  return terms;
}

// A checkpoint's tensors, some of them with what an adapter adds. A sum whose pages were released
// is computed anew when it is asked for again; threads that read one tensor must not release it.
class AdaptedTensors final : public TensorStore {
 public:
  AdaptedTensors(std::shared_ptr<const TensorStore> base, const Adapter& adapter, SumType type)
      : base_(std::move(base)) {
    for (const auto& [name, term] : adapter.terms) {
      Sum& sum = sums_[name];
      sum.term = term;
      sum.view = *base_->FindShape(name);
      sum.is_separate = kernels::IsQuantized(sum.view.dtype);
      if (sum.is_separate) continue;
      if (type == SumType::kF32) sum.view.dtype = DType::kF32;
      sum.view.bytes = {};
    }
  }
  const TensorView* Find(std::string_view name) const override {
    const auto found = sums_.find(name);
    if (found == sums_.end() || found->second.is_separate) return base_->Find(name);
    const std::lock_guard lock(mutex_);
    if (found->second.is_stale) Add(*base_->Find(name), found->second);
    return &found->second.view;
  }
  const TensorView* FindShape(std::string_view name) const override {
    const auto found = sums_.find(name);
    return found == sums_.end() ? base_->FindShape(name) : &found->second.view;
  }
  const LowRank* FindTerm(std::string_view name) const override {
    const auto found = sums_.find(name);
    return found != sums_.end() && found->second.is_separate ? &found->second.term : nullptr;
  }
  bool HasTransposedHeads() const override { return base_->HasTransposedHeads(); }
  std::vector<std::string> Names() const override { return base_->Names(); }
  void Release(const TensorView& tensor) const override {
    const auto found = sums_.find(tensor.name);
    if (found == sums_.end() || found->second.is_separate) return base_->Release(tensor);
    const std::lock_guard lock(mutex_);
    found->second.is_stale = true;
    ReleasePages(tensor.bytes);
  }
  const std::filesystem::path& path() const override { return base_->path(); }

 private:
  struct Sum {
    LowRank term;
    bool is_separate = false;  // the term stays one, the matrix is as it was
    bool is_stale = true;
    std::vector<std::byte> bytes;
    TensorView view;
  };

  void Add(const TensorView& stored, Sum& sum) const {
    const LowRank& term = sum.term;
    std::vector<float> values = Values(stored);
    const auto inputs = static_cast<size_t>(term.inputs), rank = static_cast<size_t>(term.rank);
    for (size_t o = 0; o < static_cast<size_t>(term.outputs); ++o) {
      float* row = values.data() + o * inputs;
      for (size_t r = 0; r < rank; ++r) {
        const auto factor = static_cast<float>(term.scale * double{term.b[o * rank + r]});
        const float* a = term.a.data() + r * inputs;
        for (size_t i = 0; i < inputs; ++i) row[i] += factor * a[i];
      }
    }
    base_->Release(stored);
    TensorView wide = stored;
    wide.dtype = DType::kF32;
    wide.bytes = std::as_bytes(std::span<const float>(values));
    sum.bytes.resize(values.size() * kernels::SizeOf(sum.view.dtype));
    ConvertElements(wide, 0, values.size(), sum.bytes.data(), sum.view.dtype);
    sum.view.bytes = sum.bytes;
    sum.is_stale = false;
  }

  std::shared_ptr<const TensorStore> base_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Sum, std::less<>> sums_;
};

// Whether rows of it are looked up, and no more.
bool IsTable(std::string_view name) {
  return name == "embed_text_tokens.weight" || name == kBackboneCodeEmbedding ||
         name == kDepthCodeEmbedding;
}

}  // namespace

Adapter ReadAdapter(const std::filesystem::path& dir) {
  const std::filesystem::path config_file = dir / kConfigFile;
  const Json config = ReadConfigJson(config_file);
  const SafetensorsFile file(dir / kAdapterTensors);
  try {
    CheckKind(config, config_file.string());
    return {dir, ReadTerms(file, config, config_file.string())};
  } catch (const nlohmann::json::exception& error) {
    Fail<FormatError>("{} is no adapter's config: {}", config_file.string(), SyntaxError(error));
  } catch (const std::regex_error&) {
    Fail<FormatError>("{}: a key of alpha_pattern or rank_pattern is no regular expression",
                      config_file.string());
  }
}

void WriteAdapter(const std::filesystem::path& dir, const AdapterSettings& settings,
                  const std::map<std::string, LowRank, std::less<>>& terms) {
  const Json config = {{"base_model_name_or_path", settings.base_model},
                       {"bias", "none"},
                       {"fan_in_fan_out", false},
                       {"inference_mode", true},
                       {"init_lora_weights", true},
                       {"lora_alpha", settings.alpha},
                       {"lora_dropout", settings.dropout},
                       {"peft_type", "LORA"},
                       {"r", settings.rank},
                       // An expression: the codec has modules of the same names.
                       {"target_modules", fmt::format("(backbone_model|depth_decoder)\\..*\\.({})",
                                                      fmt::join(settings.target_modules, "|"))},
                       {"task_type", nullptr},
                       {"use_dora", false},
                       {"use_rslora", false}};
  std::vector<TensorView> views;
  for (const auto& [name, term] : terms) {
    const std::string module = name.substr(0, name.size() - std::string(".weight").size());
    const auto add = [&](std::string_view kind, std::vector<int64_t> shape,
                         const std::vector<float>& values) {
      views.push_back({fmt::format("{}{}{}", kAdapterPrefix, module, kind), DType::kF32,
                       std::move(shape), std::as_bytes(std::span(values))});
    };
    add(kA, {term.rank, term.inputs}, term.a);
    add(kB, {term.outputs, term.rank}, term.b);
  }
  std::vector<TensorToWrite> tensors;
  for (const TensorView& view : views) tensors.push_back({&view, DType::kF32});
  MakeFolder(dir);
  WriteSafetensors(dir / kAdapterTensors, tensors, nullptr);
  WriteFileAtomically(dir / kConfigFile, config.dump(2) + "\n");
}

void CopyAdapter(const std::filesystem::path& from, const std::filesystem::path& to) {
  MakeFolder(to);
  for (const char* name : {kAdapterTensors, kConfigFile}) {
    WriteFileAtomically(to / name, ReadFile(from / name));
  }
}

CsmCheckpoint WithAdapter(CsmCheckpoint checkpoint, const Adapter& adapter, SumType type) {
  for (const auto& [name, term] : adapter.terms) {
    const TensorView* tensor = checkpoint.tensors->FindShape(name);
    if (tensor == nullptr || !IsModelMatrix(*tensor)) {
      Fail<FormatError>("{} adapts {}, which is no matrix of {}", adapter.dir.string(),
                        QuoteName(name), checkpoint.dir.string());
    }
    if (kernels::IsQuantized(tensor->dtype) && IsTable(name)) {
      Fail<FormatError>("{} adapts {}, which in {} is quantized and no layer", adapter.dir.string(),
                        name, checkpoint.dir.string());
    }
    if (tensor->shape != std::vector<int64_t>{term.outputs, term.inputs}) {
      Fail<FormatError>("{} adapts {} as [{}, {}]; in {} it is [{}]", adapter.dir.string(), name,
                        term.outputs, term.inputs, checkpoint.dir.string(),
                        fmt::join(tensor->shape, ", "));
    }
  }
  checkpoint.tensors = std::make_shared<AdaptedTensors>(checkpoint.tensors, adapter, type);
  return checkpoint;
}

}  // namespace csm::checkpoint

#include "checkpoint/initial_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <numbers>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/philox.h"
#include "base/runtime.h"
#include "checkpoint/config_reader.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/generation_json.h"
#include "checkpoint/json_file.h"

namespace csm::checkpoint {
namespace {

constexpr double kInitializerRange = 0.02;  // HF's default
constexpr float kLayerScale = 0.01F;        // of Mimi
constexpr auto kPi = std::numbers::pi_v<float>;

// How a tensor begins: all of one value, or normal.
struct Beginning {
  float constant = 0;
  double deviation = 0;  // above 0: normal
};

Beginning BeginningOf(const TensorSpec& spec, double range) {
  const std::string& name = spec.name;
  if (name.ends_with(".bias")) return {.constant = 0};
  if (name.ends_with("_layer_scale.scale")) return {.constant = kLayerScale};
  if (spec.shape.size() == 1) return {.constant = 1};  // norms, uses of codes
  if (!name.starts_with(kCodecPrefix)) return {.deviation = range};
  if (name.ends_with(".embed_sum")) return {.deviation = 1};
  if (spec.shape.size() == 2) return {.deviation = kInitializerRange};
  return {.deviation = std::sqrt(2.0 / static_cast<double>(spec.shape[1] * spec.shape[2]))};
}

// Numbers filled by one task: 4 a call of the generator.
constexpr size_t kPiece = size_t{1} << 18;

// Pairs of normal numbers from pairs of uniform ones (Box and Muller): values[begin, end), the
// first a multiple of 4.
void FillNormal(uint64_t key, float deviation, size_t begin, size_t end, float* values) {
  constexpr float kUnit = 0x1.0p-24F;
  for (size_t i = begin; i < end; i += 4) {
    const auto words =
        Philox4x32(key, {static_cast<uint32_t>(i), static_cast<uint32_t>(i >> 32), 0, 0});
    for (size_t pair = 0; pair < 4; pair += 2) {
      const float above_0 = static_cast<float>((words[pair] >> 8) + 1) * kUnit;
      const float angle = static_cast<float>(words[pair + 1] >> 8) * kUnit * 2 * kPi;
      const float radius = deviation * std::sqrt(-2 * std::log(above_0));
      const size_t at = i + pair;
      if (at < end) values[at] = radius * std::cos(angle);
      if (at + 1 < end) values[at + 1] = radius * std::sin(angle);
    }
  }
}

// The random tensors; those of a codec that is there already are read from its own store.
class InitialTensors final : public TensorStore {
 public:
  InitialTensors(const CsmConfig& config, double range, double depth_range,
                 std::optional<MimiCheckpoint> codec, uint64_t seed, Runtime runtime)
      : codec_(std::move(codec)), seed_(seed), runtime_(std::move(runtime)) {
    for (const TensorSpec& spec : CsmTensors(config)) {
      if (config.tie_codebooks_embeddings && spec.name == kBackboneCodeEmbedding) continue;
      AddFlag(spec.name);
      Entry& entry = entries_[spec.name];
      entry.view = {.name = spec.name, .dtype = DType::kF32, .shape = spec.shape};
      if (codec_ && spec.name.starts_with(kCodecPrefix)) {
        entry.stored =
            codec_->tensors->Find(codec_->prefix + spec.name.substr(sizeof kCodecPrefix - 1));
        entry.view = *entry.stored;
        entry.view.name = spec.name;
        continue;
      }
      const bool is_depth = spec.name.starts_with("depth_decoder.");
      entry.beginning = BeginningOf(spec, is_depth ? depth_range : range);
    }
  }

  const TensorView* FindShape(std::string_view name) const override {
    const auto found = entries_.find(name);
    return found == entries_.end() ? nullptr : &found->second.view;
  }
  const TensorView* Find(std::string_view name) const override {
    const auto found = entries_.find(name);
    if (found == entries_.end()) return nullptr;
    const std::lock_guard lock(mutex_);
    if (found->second.stored == nullptr) Fill(found->second);
    return &found->second.view;
  }
  std::vector<std::string> Names() const override {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries_) names.push_back(name);
    return names;
  }
  // The last part of a tensor takes its values with it.
  void Release(const TensorView& tensor) const override {
    const auto found = entries_.find(tensor.name);
    if (found == entries_.end()) return;
    Entry& entry = found->second;
    if (entry.stored != nullptr) {
      TensorView part = *entry.stored;
      part.bytes = tensor.bytes;
      return codec_->tensors->Release(part);
    }
    const std::lock_guard lock(mutex_);
    const auto whole = entry.view.bytes;
    if (tensor.bytes.data() + tensor.bytes.size() != whole.data() + whole.size()) return;
    entry.view.bytes = {};
    entry.values = std::vector<float>();  // not {}, which keeps the memory
  }
  const std::filesystem::path& path() const override { return path_; }

 private:
  struct Entry {
    TensorView view;
    Beginning beginning;
    const TensorView* stored = nullptr;  // of the codec's store
    std::vector<float> values;
  };

  // transformers stores beside each codebook that it is there.
  void AddFlag(const std::string& name) {
    constexpr std::string_view kSums = "embed_sum";
    if (!name.ends_with(kSums)) return;
    const std::string flag = name.substr(0, name.size() - kSums.size()) + "initialized";
    Entry& entry = entries_[flag];
    entry.view = {.name = flag, .dtype = DType::kF32, .shape = {1}};
    entry.beginning = {.constant = 1};
  }

  void Fill(Entry& entry) const {
    if (!entry.values.empty()) return;
    size_t count = 1;
    for (const int64_t dim : entry.view.shape) count *= static_cast<size_t>(dim);
    entry.values.assign(count, entry.beginning.constant);
    Hash hash;
    hash.Add(seed_);
    hash.Add(std::as_bytes(std::span<const char>(entry.view.name)));
    if (entry.beginning.deviation > 0) {
      const auto deviation = static_cast<float>(entry.beginning.deviation);
      runtime_.impl()->pool.ParallelFor((count + kPiece - 1) / kPiece, [&](size_t piece) {
        FillNormal(hash.state(), deviation, piece * kPiece, std::min(count, (piece + 1) * kPiece),
                   entry.values.data());
      });
    }
    entry.view.bytes = std::as_bytes(std::span<const float>(entry.values));
  }

  std::filesystem::path path_ = "initial weights";
  std::optional<MimiCheckpoint> codec_;
  uint64_t seed_;
  Runtime runtime_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Entry, std::less<>> entries_;
};

double InitializerRange(const Json& config, const std::string& file) {
  const auto range = config.find("initializer_range");
  if (range == config.end() || range->is_null()) return kInitializerRange;
  if (!range->is_number() || !(range->get<double>() >= 0 && range->get<double>() <= 100)) {
    Fail<FormatError>("{}: initializer_range is {}; it should be a deviation such as 0.02", file,
                      range->dump());
  }
  return range->get<double>();
}

}  // namespace

CsmCheckpoint MakeInitialCheckpoint(const std::filesystem::path& config,
                                    const std::optional<std::filesystem::path>& codec,
                                    uint64_t seed, const Runtime& runtime) {
  const bool is_folder = std::filesystem::is_directory(config);
  const std::filesystem::path file = is_folder ? config / "config.json" : config;
  Json json = ReadConfigJson(file);
  std::optional<MimiCheckpoint> trained;
  if (codec) {
    trained = OpenMimiCheckpoint(*codec);
    json["codec_config"] = ToJson(trained->config);
  }
  CsmCheckpoint checkpoint;
  // Other files of the folder, and keys that are unknown here, go into what is saved.
  if (file.filename() == "config.json") {
    checkpoint.dir = file.has_parent_path() ? file.parent_path() : ".";
  }
  checkpoint.config = ParseCsmConfig(json, file.string());
  if (!checkpoint.dir.empty()) {
    checkpoint.generation_config =
        ReadGenerationConfig(checkpoint.dir, checkpoint.config.num_codebooks);
  }
  const Json depth = json.value("depth_decoder_config", Json::object());
  checkpoint.tensors = std::make_shared<InitialTensors>(
      checkpoint.config, InitializerRange(json, file.string()),
      InitializerRange(depth, file.string()), std::move(trained), seed, runtime);
  const std::string backbone =
      checkpoint.config.tie_codebooks_embeddings ? kDepthCodeEmbedding : kBackboneCodeEmbedding;
  checkpoint.code_embeddings = {backbone, kDepthCodeEmbedding};
  return checkpoint;
}

}  // namespace csm::checkpoint

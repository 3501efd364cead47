#include "torch/training_state.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <system_error>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/safetensors.h"

namespace csm::train {
namespace {

constexpr std::string_view kPrefix = "checkpoint-";
constexpr char kStateFile[] = "trainer_state.json";
constexpr char kOptimizerFile[] = "optimizer.safetensors";

// What the batches of a run depend on.
constexpr std::array<std::string_view, 8> kFixed = {
    "seed",     "per_device_train_batch_size", "gradient_accumulation_steps",
    "train_on", "depth_decoder_labels_ratio",  "num_samples",
    "lora_r",   "lora_target_modules"};

checkpoint::TensorView ViewOf(const std::string& name, const torch::Tensor& tensor) {
  checkpoint::TensorView view;
  view.name = name;
  view.shape = tensor.sizes().vec();
  view.bytes = {static_cast<const std::byte*>(tensor.data_ptr()), tensor.nbytes()};
  return view;
}

// A checkpoint's tensors, with the parameters of a model in place of those that it trained.
class TrainedTensors final : public checkpoint::TensorStore {
 public:
  TrainedTensors(const checkpoint::CsmCheckpoint& origin, CsmForConditionalGeneration& model)
      : origin_(origin.tensors) {
    for (const auto& item : model->named_parameters()) {
      std::string name = item.key();
      if (name == checkpoint::kBackboneCodeEmbedding) name = origin.code_embeddings.backbone;
      if (name == checkpoint::kDepthCodeEmbedding) name = origin.code_embeddings.depth_decoder;
      copies_.push_back(item.value().detach().to(torch::kCPU, torch::kFloat32).contiguous());
      views_[name] = ViewOf(name, copies_.back());
    }
  }
  const checkpoint::TensorView* Find(std::string_view name) const override {
    const auto view = views_.find(name);
    return view != views_.end() ? &view->second : origin_->Find(name);
  }
  std::vector<std::string> Names() const override { return origin_->Names(); }
  void Release(const checkpoint::TensorView&) const override {}
  const std::filesystem::path& path() const override { return origin_->path(); }

 private:
  std::shared_ptr<const checkpoint::TensorStore> origin_;
  std::vector<torch::Tensor> copies_;  // the parameters themselves, unless they had to be converted
  std::map<std::string, checkpoint::TensorView, std::less<>> views_;
};

struct Checkpoint {
  int64_t step;
  std::filesystem::path dir;
};

// Of an output folder, by step.
std::vector<Checkpoint> Checkpoints(const std::filesystem::path& output) {
  std::vector<Checkpoint> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(output, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    int64_t step = 0;
    const char* end = name.data() + name.size();
    const auto [rest, problem] = std::from_chars(name.data() + kPrefix.size(), end, step);
    if (problem == std::errc() && rest == end) found.push_back({step, entry.path()});
  }
  std::sort(found.begin(), found.end(),
            [](const Checkpoint& a, const Checkpoint& b) { return a.step < b.step; });
  return found;
}

void SaveOptimizer(const AdamW& optimizer, const std::filesystem::path& file) {
  std::vector<checkpoint::TensorView> views;
  std::vector<torch::Tensor> copies;
  for (const auto& [name, tensor] : optimizer.State()) {
    copies.push_back(tensor.to(torch::kCPU).contiguous());
    views.push_back(ViewOf(name, copies.back()));
  }
  std::vector<checkpoint::TensorToWrite> tensors;
  for (const checkpoint::TensorView& view : views) tensors.push_back({&view, DType::kF32});
  checkpoint::WriteSafetensors(file, tensors, nullptr);
}

void RemoveOld(const std::filesystem::path& output, int64_t best_step, int64_t limit) {
  std::vector<Checkpoint> all = Checkpoints(output);
  if (limit == 0) return;
  auto excess = std::ssize(all) - limit;
  for (const Checkpoint& each : all) {
    if (excess <= 0) return;
    if (each.step == best_step || each.step == all.back().step) continue;
    std::error_code ignored;  // what cannot be removed only takes room
    std::filesystem::remove_all(each.dir, ignored);
    --excess;
  }
}

}  // namespace

void SaveModel(const checkpoint::CsmCheckpoint& origin, CsmForConditionalGeneration& model,
               std::optional<DType> dtype, const std::filesystem::path& dir) {
  checkpoint::CsmCheckpoint trained = origin;
  trained.tensors = std::make_shared<TrainedTensors>(origin, model);
  std::filesystem::path temporary = dir;
  temporary += ".tmp";
  std::filesystem::remove_all(temporary);
  checkpoint::SaveCsmCheckpoint(trained, temporary, dtype.value_or(DType::kF32));
  CsmProcessor::from_pretrained(origin.dir).save_pretrained(temporary);
  std::filesystem::rename(temporary, dir);
}

void SaveCheckpoint(const ModelWriter& write_model, const AdamW& optimizer,
                    const Position& position, const Json& options, int64_t limit,
                    const std::filesystem::path& output) {
  const std::filesystem::path dir = output / fmt::format("{}{}", kPrefix, position.step);
  std::filesystem::path temporary = dir;
  temporary += ".partial";  // the name must not be there before all the rest is
  std::filesystem::remove_all(temporary);
  write_model(temporary);
  SaveOptimizer(optimizer, temporary / kOptimizerFile);
  Json state = {{"step", position.step}, {"best_step", position.best_step}, {"options", options}};
  state["best"] = position.best ? Json(*position.best) : Json();
  WriteFileAtomically(temporary / kStateFile, state.dump(2) + "\n");
  std::filesystem::remove_all(dir);
  std::filesystem::rename(temporary, dir);
  RemoveOld(output, position.best_step, limit);
}

std::optional<std::filesystem::path> LastCheckpoint(const std::filesystem::path& output) {
  const std::vector<Checkpoint> all = Checkpoints(output);
  if (all.empty()) return std::nullopt;
  return all.back().dir;
}

Position ResumeFrom(const std::filesystem::path& dir, const Json& options, AdamW& optimizer) {
  const Json state = ParseJsonFile(dir / kStateFile);
  for (const std::string_view key : kFixed) {
    const Json was = state.at("options").value(std::string(key), Json());
    if (was != options.at(std::string(key))) {
      Fail<ArgumentError>(
          "{} was trained with {} {}, which is now {}: resuming would see other "
          "batches",
          dir.string(), key, was.dump(), options.at(std::string(key)).dump());
    }
  }
  const checkpoint::SafetensorsFile file(dir / kOptimizerFile);
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : optimizer.State()) {
    const checkpoint::TensorView* stored = file.Find(name);
    if (stored == nullptr || stored->shape != tensor.sizes().vec() ||
        stored->dtype != DType::kF32) {
      Fail<FormatError>("{} does not fit this run: {} is missing or of another shape",
                        (dir / kOptimizerFile).string(), name);
    }
    const torch::Tensor values = torch::empty(tensor.sizes());
    std::memcpy(values.data_ptr(), stored->bytes.data(), stored->bytes.size());
    torch::Tensor target = tensor;
    target.copy_(values);
  }
  Position position;
  position.step = state.at("step").get<int64_t>();
  position.best_step = state.at("best_step").get<int64_t>();
  if (!state.at("best").is_null()) position.best = state.at("best").get<double>();
  return position;
}

}  // namespace csm::train

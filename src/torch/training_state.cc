#include "torch/training_state.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/safetensors.h"
#include "torch/parameters.h"

namespace csm::train {
namespace {

constexpr std::string_view kPrefix = "checkpoint-";
constexpr char kStateFile[] = "trainer_state.json";
constexpr char kOptimizerFile[] = "optimizer.safetensors";

// What may not change in a run: what its batches and its model are.
constexpr std::array<std::string_view, 14> kFixed = {"seed",
                                                     "optim",
                                                     "total_train_batch_size",
                                                     "gradient_accumulation_steps",
                                                     "train_on",
                                                     "depth_decoder_labels_ratio",
                                                     "freeze",
                                                     "bf16",
                                                     "lora_r",
                                                     "lora_alpha",
                                                     "lora_dropout",
                                                     "lora_target_modules",
                                                     "data",
                                                     "base"};

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
      const std::string name = StoredName(origin, item.key());
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

void SaveOptimizer(const Optimizer& optimizer, const std::filesystem::path& file) {
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

struct State {
  Position position;
  Json options;
};

State ReadState(const std::filesystem::path& dir) {
  const std::filesystem::path file = dir / kStateFile;
  const Json json = ParseJsonFile(file);
  try {
    State state{.options = json.at("options")};
    if (!state.options.is_object()) Fail<FormatError>("{}: options is no object", file.string());
    state.position.step = json.at("step").get<int64_t>();
    state.position.best_step = json.at("best_step").get<int64_t>();
    if (!json.at("best").is_null()) state.position.best = json.at("best").get<double>();
    const Json& sums = json.at("since_log");
    state.position.since_log = {sums.at(0).get<double>(), sums.at(1).get<double>(),
                                sums.at(2).get<int64_t>(), sums.at(3).get<int64_t>(),
                                sums.at(4).get<double>()};
    if (dir.filename() != fmt::format("{}{}", kPrefix, state.position.step)) {
      Fail<FormatError>("{} is of step {}", file.string(), state.position.step);
    }
    return state;
  } catch (const nlohmann::json::exception& error) {
    Fail<FormatError>("{} is no state of a run: {}", file.string(), SyntaxError(error));
  }
}

}  // namespace

checkpoint::CsmCheckpoint TrainedCheckpoint(const checkpoint::CsmCheckpoint& origin,
                                            CsmForConditionalGeneration& model) {
  checkpoint::CsmCheckpoint trained = origin;
  trained.tensors = std::make_shared<TrainedTensors>(origin, model);
  return trained;
}

void SaveModel(const checkpoint::CsmCheckpoint& origin, const CsmProcessor& processor,
               CsmForConditionalGeneration& model, std::optional<DType> dtype,
               const std::filesystem::path& dir) {
  checkpoint::SaveCsmCheckpoint(TrainedCheckpoint(origin, model), dir, dtype.value_or(DType::kF32));
  processor.save_pretrained(dir);
}

void SaveCheckpoint(const FolderWriter& write_model, const Optimizer& optimizer,
                    const Position& position, const Json& options, int64_t limit,
                    const std::filesystem::path& output) {
  ReplaceFolder(output / fmt::format("{}{}", kPrefix, position.step), [&](const std::filesystem::
                                                                              path& dir) {
    write_model(dir);
    SaveOptimizer(optimizer, dir / kOptimizerFile);
    Json state = {{"step", position.step}, {"best_step", position.best_step}, {"options", options}};
    const Totals& sums = position.since_log;
    state["since_log"] = {sums.backbone, sums.depth_decoder, sums.num_backbone,
                          sums.num_depth_decoder, sums.attention};
    state["best"] = position.best ? Json(*position.best) : Json();
    WriteFileAtomically(dir / kStateFile,
                        state.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  });
  RemoveOld(output, position.best_step, limit);
}

std::optional<std::filesystem::path> LastCheckpoint(const std::filesystem::path& output) {
  const std::vector<Checkpoint> all = Checkpoints(output);
  if (all.empty()) return std::nullopt;
  return all.back().dir;
}

Json SavedOptions(const std::filesystem::path& dir) { return ReadState(dir).options; }

Position ResumeFrom(const std::filesystem::path& dir, const Json& options, Optimizer& optimizer) {
  const State state = ReadState(dir);
  for (const std::string_view key : kFixed) {
    const Json was = state.options.value(std::string(key), Json());
    const Json& is = options.at(std::string(key));
    if (was != is) {
      Fail<ArgumentError>(
          "{} was trained with {} {}, now it is {}; a run goes on with what it "
          "began with",
          dir.string(), key, was.dump(), is.dump());
    }
  }
  const checkpoint::SafetensorsFile file(dir / kOptimizerFile);
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : optimizer.State()) CopyStored(file, name, tensor);
  return state.position;
}

}  // namespace csm::train

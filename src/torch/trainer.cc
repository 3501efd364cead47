#include "torch/trainer.h"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>

#include <cmath>
#include <fstream>
#include <regex>

#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "checkpoint/config_writer.h"
#include "torch/dataset.h"
#include "torch/lora.h"
#include "torch/parameters.h"
#include "torch/sampler.h"
#include "torch/training_state.h"

namespace csm::train {
namespace {

// Products in bf16 while it lives; what must be exact (norms, losses) stays in f32.
class Autocast {
 public:
  explicit Autocast(bool enabled) : was_enabled_(at::autocast::is_autocast_enabled(at::kCPU)) {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, enabled);
  }
  ~Autocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, was_enabled_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool was_enabled_;
};

struct Totals {
  double backbone = 0, depth_decoder = 0;  // sums of cross-entropies
  int64_t num_backbone = 0, num_depth_decoder = 0;

  void Add(const Totals& more) {
    backbone += more.backbone;
    depth_decoder += more.depth_decoder;
    num_backbone += more.num_backbone;
    num_depth_decoder += more.num_depth_decoder;
  }
  void Add(const LossSums& sums) {
    backbone += sums.backbone.item<double>();
    depth_decoder += sums.depth_decoder.item<double>();
    num_backbone += sums.num_backbone;
    num_depth_decoder += sums.num_depth_decoder;
  }
  double BackboneLoss() const { return backbone / static_cast<double>(num_backbone); }
  double DepthDecoderLoss() const { return depth_decoder / static_cast<double>(num_depth_decoder); }
  double Loss() const { return BackboneLoss() + DepthDecoderLoss(); }
};

// What tells one dataset from another.
std::string HashOf(std::span<const Sample> samples) {
  Hash hash;
  const auto add = [&](const std::vector<int32_t>& values) {
    hash.Add(values.size());
    hash.Add(std::as_bytes(std::span(values)));
  };
  for (const Sample& sample : samples) {
    add(sample.input_ids);
    add(sample.labels);
    add(sample.frames.data);
  }
  return fmt::format("{} conversations, {:016x}", samples.size(), hash.state());
}

Json OptionsToJson(const TrainOptions& options, std::span<const Sample> samples) {
  Json json;
  TrainOptions::visit_fields(
      options, [&](std::string_view name, const auto& value) { json[std::string(name)] = value; });
  json["data"] = HashOf(samples);
  return json;
}

bool IsFinite(const CsmForConditionalGeneration& model) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad() && !torch::isfinite(item.value()).all().item<bool>()) {
      return false;
    }
  }
  return true;
}

// Parameters whose names match stay as they are.
void Freeze(CsmForConditionalGeneration& model, const std::string& pattern) {
  if (pattern.empty()) return;
  const std::regex expression(pattern);
  bool any_frozen = false, any_left = false;
  for (auto& item : model->named_parameters()) {
    if (std::regex_search(item.key(), expression)) {
      item.value().set_requires_grad(false);
      any_frozen = true;
    }
    any_left = any_left || item.value().requires_grad();
  }
  if (!any_frozen) Fail<ArgumentError>("freeze: no parameter's name matches '{}'", pattern);
  if (!any_left) Fail<ArgumentError>("freeze: '{}' leaves nothing to learn", pattern);
}

class Run {
 public:
  Run(const TrainRequest& request, const TrainCallbacks& callbacks)
      : request_(request), options_(request.options), callbacks_(callbacks) {
    options_.Validate();
    const auto last = LastCheckpoint(request.output);
    CheckOutput(last.has_value());
    const Runtime runtime(request.num_threads);
    at::set_num_threads(runtime.num_threads());
    first_ = checkpoint::OpenCsmCheckpoint(request.model);
    const bool is_adapter = options_.has_adapter();
    origin_ = last && !is_adapter ? checkpoint::OpenCsmCheckpoint(*last) : first_;
    origin_.dir = first_.dir;  // a checkpoint of the run may be removed while it goes on
    processor_.emplace(CsmProcessor::from_pretrained(first_.dir));
    model_ = LoadModel(origin_, IsHalf() ? torch::kBFloat16 : torch::kFloat32);
    if (is_adapter) AddAdapter(model_, options_);
    if (is_adapter && last) LoadAdapter(*last, model_);
    Freeze(model_, options_.freeze);
    optimizer_.emplace(*model_, options_);
    Load(runtime);
    saved_options_ = OptionsToJson(options_, samples_);
    if (last) {
      position_ = ResumeFrom(*last, saved_options_, *optimizer_);
      saved_step_ = position_.step;
    }
    CountSteps();
    OpenMetrics();
  }

  TrainResult Train() {
    while (position_.step < num_steps_) {
      if (callbacks_.is_cancelled && callbacks_.is_cancelled()) {
        if (position_.step > 0 && saved_step_ != position_.step) Save();
        return {position_.step, false, {}};
      }
      Step();
      const int64_t step = position_.step;
      const bool is_last = step == num_steps_;
      if (step % options_.logging_steps == 0 || is_last) Log();
      const bool saves = step % options_.save_steps == 0 || is_last;
      const int64_t eval_steps = options_.eval_steps;
      if (eval_steps == 0 ? saves : step % eval_steps == 0 || is_last) Evaluate();
      if (saves) Save();
    }
    return {position_.step, true, SaveFinal()};
  }

 private:
  // What does not learn may as well be 16-bit.
  bool IsHalf() const { return options_.has_adapter() && options_.bf16; }

  // A folder with results of another run, or with the model itself, is not written to.
  void CheckOutput(bool has_checkpoint) const {
    const std::string output = request_.output.string();
    if (request_.resume && !has_checkpoint) {
      Fail<ArgumentError>("{} holds no checkpoint to resume", output);
    }
    std::error_code error;
    const auto holds = [&](const char* name) {
      return std::filesystem::exists(request_.output / name, error);
    };
    if (!request_.resume && (has_checkpoint || holds("model") || holds("adapter"))) {
      Fail<ArgumentError>("{} holds a run already: resume it, or choose another folder", output);
    }
    for (const char* name : {"model", "adapter"}) {
      if (std::filesystem::equivalent(request_.model, request_.output / name, error)) {
        Fail<ArgumentError>(
            "{} is the model, and where the result would go: choose another "
            "output folder",
            request_.model.string());
      }
    }
  }

  void Load(const Runtime& runtime) {
    const CsmProcessor& processor = *processor_;
    const MimiModel codec = MimiModel::from_pretrained(first_.dir, {.runtime = runtime});
    const TrainOn train_on = ParseTrainOn(options_.train_on);
    const DatasetCallbacks watch{callbacks_.on_encode, callbacks_.on_note, callbacks_.is_cancelled};
    const CodeCache cache(request_.cache.empty() ? request_.output / "codes" : request_.cache,
                          origin_, processor, codec);
    const auto load = [&](const std::filesystem::path& data) {
      return LoadDataset(data, processor, codec, origin_.config, train_on, cache, watch);
    };
    samples_ = load(request_.train_data);
    if (!request_.eval_data.empty()) eval_samples_ = load(request_.eval_data);
  }

  void CountSteps() {
    const auto batch = static_cast<size_t>(options_.per_device_train_batch_size);
    const auto accumulated = static_cast<size_t>(options_.gradient_accumulation_steps);
    const size_t num_batches = (samples_.size() + batch - 1) / batch;
    steps_per_epoch_ = static_cast<int64_t>((num_batches + accumulated - 1) / accumulated);
    num_steps_ = options_.max_steps > 0
                     ? options_.max_steps
                     : static_cast<int64_t>(std::ceil(options_.num_train_epochs *
                                                      static_cast<double>(steps_per_epoch_)));
  }

  // The batches of a step: those that gradients are accumulated over.
  std::vector<std::vector<Sample>> BatchesOf(int64_t step) {
    const int64_t epoch = step / steps_per_epoch_;
    if (epoch != epoch_ || batches_.empty()) {
      epoch_ = epoch;
      std::vector<size_t> lengths;
      for (const Sample& sample : samples_) lengths.push_back(sample.input_ids.size());
      batches_ = EpochBatches(lengths, static_cast<size_t>(options_.per_device_train_batch_size),
                              static_cast<uint64_t>(options_.seed), static_cast<uint64_t>(epoch));
    }
    const auto accumulated = static_cast<size_t>(options_.gradient_accumulation_steps);
    const auto first = static_cast<size_t>(step % steps_per_epoch_) * accumulated;
    const size_t last = std::min(first + accumulated, batches_.size());
    std::vector<std::vector<Sample>> found;
    for (size_t b = first; b < last; ++b) {
      std::vector<Sample> samples;
      for (const size_t index : batches_[b]) samples.push_back(samples_[index]);
      DrawDepthLabels(samples, origin_.config, options_.depth_decoder_labels_ratio,
                      static_cast<uint64_t>(options_.seed),
                      static_cast<uint64_t>(step) * accumulated + (b - first));
      found.push_back(std::move(samples));
    }
    return found;
  }

  void Step() {
    const auto start = Clock::now();
    std::vector<Batch> batches;
    int64_t num_backbone = 0, num_depth_frames = 0;
    for (const std::vector<Sample>& samples : BatchesOf(position_.step)) {
      batches.push_back(MakeBatch(samples, origin_.config));
      num_backbone += batches.back().backbone_labels.size(0);
      num_depth_frames += batches.back().depth_frames.size(0);
    }
    const auto num_depth =
        static_cast<double>(num_depth_frames * (origin_.config.num_codebooks - 1));
    // What dropout draws depends on the step alone.
    torch::manual_seed(static_cast<uint64_t>(options_.seed) +
                       static_cast<uint64_t>(position_.step));
    model_->train();
    Totals totals;
    for (const Batch& batch : batches) {
      LossSums sums;
      {
        const Autocast autocast(options_.bf16);
        sums = model_(batch);
      }
      totals.Add(sums);
      // Means over the whole step, whatever it is cut into.
      (sums.backbone / static_cast<double>(num_backbone) + sums.depth_decoder / num_depth)
          .backward();
    }
    const double grad_norm = optimizer_->ClipGradients(options_.max_grad_norm);
    if (!std::isfinite(totals.Loss()) || !std::isfinite(grad_norm)) {
      Fail<Error>(
          "step {}: the loss is {} and the gradients' norm {}; nothing of this step was "
          "kept, try a lower learning_rate or more warmup",
          position_.step + 1, totals.Loss(), grad_norm);
    }
    last_ = {
        .step = position_.step + 1,
        .epoch = static_cast<double>(position_.step + 1) / static_cast<double>(steps_per_epoch_),
        .grad_norm = grad_norm,
        .learning_rate = LearningRate(options_, position_.step, num_steps_)};
    optimizer_->Step(last_.learning_rate);
    optimizer_->ZeroGrad();
    ++position_.step;
    frames_ += num_backbone;
    since_log_.Add(totals);
    seconds_ += SecondsSince(start);
    if (callbacks_.on_step) callbacks_.on_step(position_.step, num_steps_);
  }

  void Log() {
    last_.frames_per_second = static_cast<double>(frames_) / seconds_;
    last_.backbone_loss = since_log_.BackboneLoss();
    last_.depth_decoder_loss = since_log_.DepthDecoderLoss();
    WriteLine({{"step", last_.step},
               {"epoch", last_.epoch},
               {"loss", last_.backbone_loss + last_.depth_decoder_loss},
               {"backbone_loss", last_.backbone_loss},
               {"depth_decoder_loss", last_.depth_decoder_loss},
               {"grad_norm", last_.grad_norm},
               {"learning_rate", last_.learning_rate},
               {"frames_per_second", last_.frames_per_second}});
    if (callbacks_.on_log) callbacks_.on_log(last_);
    since_log_ = {};
    frames_ = 0;
    seconds_ = 0;
  }

  void Evaluate() {
    if (eval_samples_.empty()) return;
    const torch::NoGradGuard no_grad;
    const Autocast autocast(IsHalf());
    model_->eval();
    const auto size = static_cast<size_t>(options_.per_device_eval_batch_size);
    Totals totals;
    for (size_t first = 0; first < eval_samples_.size(); first += size) {
      const auto part =
          std::span(eval_samples_).subspan(first, std::min(size, eval_samples_.size() - first));
      totals.Add(model_(MakeBatch(part, origin_.config)));
    }
    if (!std::isfinite(totals.Loss())) {
      Fail<Error>(
          "step {}: the evaluation loss is {}; the checkpoints before it stay, try a lower "
          "learning_rate",
          position_.step, totals.Loss());
    }
    WriteLine({{"step", position_.step},
               {"eval_loss", totals.Loss()},
               {"eval_backbone_loss", totals.BackboneLoss()},
               {"eval_depth_decoder_loss", totals.DepthDecoderLoss()}});
    last_evaluation_ = {position_.step, totals.Loss()};
    if (callbacks_.on_eval) {
      callbacks_.on_eval(position_.step, totals.Loss(), totals.BackboneLoss(),
                         totals.DepthDecoderLoss());
    }
  }

  void Save() {
    CheckWeights();
    const auto& [evaluated_step, loss] = last_evaluation_;
    if (evaluated_step == position_.step && (!position_.best || loss < *position_.best)) {
      position_.best = loss;
      position_.best_step = position_.step;
    }
    const auto write = [&](const std::filesystem::path& dir) { Write(dir, std::nullopt); };
    SaveCheckpoint(write, *optimizer_, position_, saved_options_, options_.save_total_limit,
                   request_.output);
    saved_step_ = position_.step;
    if (callbacks_.on_save) {
      callbacks_.on_save(request_.output / fmt::format("checkpoint-{}", position_.step));
    }
  }

  void CheckWeights() const {
    if (IsFinite(model_)) return;
    Fail<Error>(
        "step {}: weights are not finite, and were not saved; try a lower learning_rate or "
        "more warmup",
        position_.step);
  }

  std::filesystem::path SaveFinal() {
    CheckWeights();
    std::filesystem::path dir = request_.output / (options_.has_adapter() ? "adapter" : "model");
    const DType stored = first_.tensors->Find("lm_head.weight")->dtype;
    ReplaceFolder(dir, [&](const std::filesystem::path& next) {
      Write(next, request_.save_dtype.value_or(stored));
    });
    return dir;
  }

  // The model, in f32 unless told otherwise, or the adapter.
  void Write(const std::filesystem::path& dir, std::optional<DType> dtype) {
    if (options_.has_adapter()) {
      SaveAdapter(model_, options_, request_.model.string(), dir);
    } else {
      SaveModel(origin_, *processor_, model_, dtype, dir);
    }
  }

  // What an interrupted run wrote after the checkpoint that is resumed did not happen.
  void OpenMetrics() {
    const std::filesystem::path file = request_.output / "metrics.jsonl";
    checkpoint::MakeFolder(request_.output);
    std::string kept;
    if (position_.step > 0 && std::filesystem::exists(file)) {
      std::ifstream old(file);
      for (std::string line; std::getline(old, line);) {
        const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
        const bool has_step = json.is_object() && json.contains("step") && json["step"].is_number();
        if (has_step && json["step"].get<double>() <= static_cast<double>(position_.step)) {
          kept += line + "\n";
        }
      }
    }
    WriteFileAtomically(file, kept);
    metrics_.open(file, std::ios::app);
  }

  void WriteLine(const Json& line) {
    metrics_ << line.dump() << std::endl;
    if (!metrics_) {
      Fail<FileError>("cannot write {}: is the disk full?",
                      (request_.output / "metrics.jsonl").string());
    }
  }

  const TrainRequest& request_;
  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  checkpoint::CsmCheckpoint first_, origin_;  // given, and that the run goes on from
  std::optional<CsmProcessor> processor_;
  std::vector<Sample> samples_, eval_samples_;
  CsmForConditionalGeneration model_{nullptr};
  std::optional<AdamW> optimizer_;
  Json saved_options_;
  Position position_;
  int64_t steps_per_epoch_ = 0, num_steps_ = 0, saved_step_ = -1;
  int64_t epoch_ = -1;
  std::vector<std::vector<size_t>> batches_;  // of that epoch
  std::ofstream metrics_;
  StepMetrics last_;
  Totals since_log_;
  std::pair<int64_t, double> last_evaluation_ = {-1, 0};  // step and loss
  int64_t frames_ = 0;
  double seconds_ = 0;  // of training, for these frames
};

}  // namespace

Json SavedRunOptions(const std::filesystem::path& output) {
  const auto last = LastCheckpoint(output);
  if (!last) Fail<ArgumentError>("{} holds no checkpoint to resume", output.string());
  return SavedOptions(*last);
}

TrainResult Train(const TrainRequest& request, const TrainCallbacks& callbacks) {
  try {
    return Run(request, callbacks).Train();
  } catch (const Cancelled&) {  // before the first step
    return {};
  } catch (const c10::Error& error) {
    Fail<Error>("LibTorch: {}", error.what_without_backtrace());
  }
}

}  // namespace csm::train

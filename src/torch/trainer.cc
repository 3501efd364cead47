#include "torch/trainer.h"

#include <ATen/Parallel.h>

#include <array>
#include <cmath>
#include <memory>

#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "torch/attention_guide.h"
#include "torch/autocast.h"
#include "torch/dataset.h"
#include "torch/device.h"
#include "torch/parameters.h"
#include "torch/processes.h"
#include "torch/run_identity.h"
#include "torch/run_lock.h"
#include "torch/run_log.h"
#include "torch/run_model.h"
#include "torch/sampler.h"
#include "torch/spoken_samples.h"
#include "torch/totals.h"
#include "torch/training_state.h"

namespace csm::train {
namespace {

// Thrown by all processes but the first, which says what is wrong.
struct FirstProcessSays {};

class Run {
 public:
  Run(const TrainRequest& request, const TrainCallbacks& callbacks, Processes& processes)
      : request_(request),
        options_(request.options),
        callbacks_(callbacks),
        processes_(processes),
        device_(FindDevice(request.device)) {
    options_.Validate();
    const auto last = LastCheckpoint(request.output);
    CheckOutput(last.has_value());
    const Runtime runtime(request.num_threads);
    SetUpCpu(runtime.num_threads());
    num_threads_ = runtime.num_threads();
    model_.emplace(request.model, last, options_, device_);
    optimizer_.emplace(*model_->module(), options_);
    if (processes_.is_first()) lock_.emplace(request.output);
    LoadData();
    saved_options_ = RunIdentity(options_, *sampler_, model_->given());
    if (last) {
      position_ = ResumeFrom(*last, saved_options_, *optimizer_);
      saved_step_ = position_.step;
    }
    if (processes_.is_first()) {
      log_.emplace(request.output, position_.step);
      RemoveSamplesAfter(request.output, position_.step);
    }
  }

  // Throws Error if the processes do not train the same: then batches and losses would not fit.
  void CheckSameEverywhere() const {
    Hash hash;
    hash.Add(std::string_view(saved_options_.dump()));
    hash.Add(eval_samples_.size());
    hash.Add(static_cast<uint64_t>(position_.step));
    // Exact in doubles.
    const std::array<double, 2> own = {static_cast<double>(hash.state() >> 32),
                                       static_cast<double>(hash.state() & 0xFFFFFFFFU)};
    std::array<double, 2> sums = own;
    processes_.Sum(sums);
    double num_different = 0;
    for (size_t i = 0; i < own.size(); ++i) {
      if (sums[i] != own[i] * processes_.size()) num_different = 1;
    }
    processes_.Sum({&num_different, 1});
    if (num_different == 0) return;
    FailTogether(
        "the processes have different options, data or checkpoints; give all the same, in folders "
        "that all can read");
  }

  TrainResult Train() {
    if (options_.eval_on_start && position_.step == 0) {
      EvaluateLoss();
      Show();
    }
    while (position_.step < sampler_->num_steps()) {
      if (IsCancelled()) {
        if (position_.step > 0 && saved_step_ != position_.step) Save(/*is_candidate=*/false);
        return {.step = position_.step, .is_first = processes_.is_first()};
      }
      Step();
      const int64_t step = position_.step;
      const bool is_last = step == sampler_->num_steps();
      if (step % options_.logging_steps == 0 || is_last) Log();
      const bool saves = step % options_.save_steps == 0 || is_last;
      const int64_t eval_steps = options_.eval_steps;
      const bool evaluates = eval_steps == 0 ? saves : step % eval_steps == 0 || is_last;
      if (evaluates) EvaluateLoss();
      if (saves) Save(/*is_candidate=*/true);
      if (evaluates) Show();
    }
    return {.step = position_.step,
            .is_complete = true,
            .is_first = processes_.is_first(),
            .model = SaveFinal()};
  }

 private:
  bool IsCancelled() {
    double count = callbacks_.is_cancelled && callbacks_.is_cancelled() ? 1 : 0;
    processes_.Sum({&count, 1});
    return count > 0;
  }

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

  void LoadData() {
    const CsmProcessor& processor = model_->processor();
    // Files are encoded side by side, each by one thread.
    const MimiModel codec =
        MimiModel::from_pretrained(model_->given().dir, {.runtime = Runtime(1)});
    const DatasetCallbacks watch{callbacks_.on_encode, callbacks_.on_note, callbacks_.is_cancelled};
    const CodeCache cache(request_.cache.empty() ? request_.output / "codes" : request_.cache,
                          model_->origin(), processor, codec);
    // Both are read before hours of encoding.
    const auto train_files = ReadDatasetFiles(request_.train_data, callbacks_.on_note);
    const auto eval_files = request_.eval_data.empty()
                                ? std::vector<PlacedConversation>()
                                : ReadDatasetFiles(request_.eval_data, callbacks_.on_note);
    const auto load = [&](std::span<const PlacedConversation> conversations,
                          const std::filesystem::path& file) {
      Dataset dataset = LoadDataset(conversations, processor, codec, model_->config(),
                                    ParseTrainOn(options_.train_on), cache, num_threads_,
                                    static_cast<size_t>(options_.num_samples), watch);
      if (!dataset.samples.empty()) return dataset;
      Fail<ArgumentError>("{} holds no conversation to learn from, of {}", file.string(),
                          conversations.size());
    };
    Dataset data = load(train_files, request_.train_data);
    sampler_.emplace(std::move(data.samples), model_->config(), options_, processes_.rank(),
                     processes_.size());
    if (!request_.eval_data.empty()) {
      Dataset eval_data = load(eval_files, request_.eval_data);
      eval_samples_ = std::move(eval_data.samples);
      data.first = std::move(eval_data.first);
    }
    spoken_ = {.conversations = std::move(data.first),
               .loading = {.dtype = model_->given_type(), .runtime = Runtime(num_threads_)},
               .seed = static_cast<uint64_t>(options_.seed),
               .output = request_.output,
               .is_cancelled = callbacks_.is_cancelled,
               .on_note = callbacks_.on_note};
  }

  void Step() {
    const auto start = Clock::now();
    const StepShare share = sampler_->Step(position_.step);
    // What dropout draws depends on the step and the process alone.
    torch::manual_seed(static_cast<uint64_t>(options_.seed + position_.step) +
                       (static_cast<uint64_t>(processes_.rank()) << 32));
    model_->module()->train();
    Totals totals;
    for (const std::vector<Sample>& samples : share.batches) {
      const Batch batch = MakeTrainingBatch(samples).To(device_);
      LossSums sums;
      {
        const Autocast autocast(options_.bf16, device_.type());
        sums = model_->module()(batch);
      }
      totals.Add(sums);
      ShareOfLoss(sums, share.targets, model_->config(), options_.guided_attention).backward();
    }
    totals.SumOver(processes_);
    if (processes_.size() > 1) optimizer_->SumGradients(processes_);
    const double grad_norm = processes_.FromFirst(optimizer_->GradientNorm());
    optimizer_->ClipGradients(options_.max_grad_norm, grad_norm);
    if (!std::isfinite(totals.Loss()) || !std::isfinite(grad_norm)) {
      FailTogether(
          "step {}: the loss is {} and the gradients' norm {}; nothing of this step was "
          "kept, try a lower learning_rate or more warmup",
          position_.step + 1, totals.Loss(), grad_norm);
    }
    last_ = {.step = position_.step + 1,
             .epoch = static_cast<double>(position_.step + 1) /
                      static_cast<double>(sampler_->steps_per_epoch()),
             .grad_norm = grad_norm,
             .learning_rate = LearningRate(options_, position_.step, sampler_->num_steps())};
    optimizer_->Step(last_.learning_rate);
    optimizer_->ZeroGrad();
    ++position_.step;
    frames_ += share.targets.codes0;
    position_.since_log.Add(totals);
    seconds_ += SecondsSince(start);
    if (callbacks_.on_step) callbacks_.on_step(position_.step, sampler_->num_steps());
  }

  Batch MakeTrainingBatch(const std::vector<Sample>& samples) const {
    Batch batch = MakeBatch(samples, model_->config());
    if (options_.code_noise > 0) AddCodeNoise(options_.code_noise, model_->config(), batch);
    if (options_.guided_attention > 0) {
      batch.attention_guide =
          MakeAttentionGuide(samples, model_->config(), batch.input_ids.size(1));
    }
    return batch;
  }

  void Log() {
    last_.frames_per_second = static_cast<double>(frames_) / seconds_;
    last_.backbone_loss = position_.since_log.BackboneLoss();
    last_.depth_decoder_loss = position_.since_log.DepthDecoderLoss();
    const double attention_loss = position_.since_log.AttentionLoss();
    position_.since_log = {};
    frames_ = 0;
    seconds_ = 0;
    if (!log_) return;
    Json line = {{"step", last_.step},
                 {"epoch", last_.epoch},
                 {"loss", last_.backbone_loss + last_.depth_decoder_loss},
                 {"backbone_loss", last_.backbone_loss},
                 {"depth_decoder_loss", last_.depth_decoder_loss},
                 {"grad_norm", last_.grad_norm},
                 {"learning_rate", last_.learning_rate},
                 {"frames_per_second", last_.frames_per_second}};
    if (options_.guided_attention > 0) line["attention_loss"] = attention_loss;
    log_->Write(line);
    if (callbacks_.on_log) callbacks_.on_log(last_);
  }

  // What is only to be looked at and listened to may fail: the run goes on.
  void Show() {
    if (!log_) return;
    try {
      if (!spoken_.conversations.empty()) {
        SpeakSamples(model_->Now(), model_->processor(), spoken_, position_.step);
      }
      log_->WriteReport(saved_options_);
    } catch (const Error& error) {
      Note(fmt::format("no samples or report: {}", error.what()));
    } catch (const std::bad_alloc&) {
      Note("no samples: there is not the memory to speak beside the training; --num-samples 0");
    }
  }

  void Note(const std::string& sentence) const {
    if (callbacks_.on_note) callbacks_.on_note(sentence);
  }

  void EvaluateLoss() {
    if (eval_samples_.empty()) return;
    const torch::NoGradGuard no_grad;
    const Autocast autocast(model_->is_half(), device_.type());
    model_->module()->eval();
    const auto size = static_cast<size_t>(options_.per_device_eval_batch_size);
    const auto each = static_cast<size_t>(processes_.size()) * size;
    Totals totals;
    for (size_t first = static_cast<size_t>(processes_.rank()) * size; first < eval_samples_.size();
         first += each) {
      const auto part =
          std::span(eval_samples_).subspan(first, std::min(size, eval_samples_.size() - first));
      totals.Add(model_->module()(MakeBatch(part, model_->config()).To(device_)));
    }
    totals.SumOver(processes_);
    if (!std::isfinite(totals.Loss())) {
      FailTogether(
          "step {}: the evaluation loss is {}; the checkpoints before it stay, try a lower "
          "learning_rate",
          position_.step, totals.Loss());
    }
    last_evaluation_ = {position_.step, totals.Loss()};
    if (!log_) return;
    log_->Write({{"step", position_.step},
                 {"eval_loss", totals.Loss()},
                 {"eval_backbone_loss", totals.BackboneLoss()},
                 {"eval_depth_decoder_loss", totals.DepthDecoderLoss()}});
    if (callbacks_.on_eval) {
      callbacks_.on_eval(position_.step, totals.Loss(), totals.BackboneLoss(),
                         totals.DepthDecoderLoss());
    }
  }

  // What every process finds at the same time, said once.
  template <typename... Args>
  [[noreturn]] void FailTogether(fmt::format_string<Args...> format, Args&&... args) const {
    if (!processes_.is_first()) throw FirstProcessSays();
    Fail<Error>(format, std::forward<Args>(args)...);
  }

  // `is_candidate`: for the best, as it would be without an interruption.
  void Save(bool is_candidate) {
    CheckWeights();
    const auto& [evaluated_step, loss] = last_evaluation_;
    if (is_candidate && evaluated_step == position_.step &&
        (!position_.best || loss < *position_.best)) {
      position_.best = loss;
      position_.best_step = position_.step;
    }
    saved_step_ = position_.step;
    if (!processes_.is_first()) return;
    const auto write = [&](const std::filesystem::path& dir) { model_->Write(dir, std::nullopt); };
    SaveCheckpoint(write, *optimizer_, position_, saved_options_, options_.save_total_limit,
                   request_.output);
    if (callbacks_.on_save) {
      callbacks_.on_save(request_.output / fmt::format("checkpoint-{}", position_.step));
    }
  }

  void CheckWeights() {
    if (IsFinite(model_->module())) return;
    FailTogether(
        "step {}: weights are not finite, and were not saved; try a lower learning_rate or "
        "more warmup",
        position_.step);
  }

  std::filesystem::path SaveFinal() {
    CheckWeights();
    std::filesystem::path dir = request_.output / (options_.has_adapter() ? "adapter" : "model");
    if (!processes_.is_first()) return dir;
    const DType dtype = request_.save_dtype.value_or(model_->given_type());
    const bool is_last = !options_.load_best_model_at_end || !position_.best ||
                         position_.best_step == position_.step;
    const auto best = request_.output / fmt::format("checkpoint-{}", position_.best_step);
    ReplaceFolder(dir, [&](const std::filesystem::path& next) {
      is_last ? model_->Write(next, dtype) : model_->WriteEarlier(best, next, dtype);
    });
    return dir;
  }

  const TrainRequest& request_;
  const TrainOptions& options_;
  const TrainCallbacks& callbacks_;
  Processes& processes_;
  torch::Device device_;
  int num_threads_ = 1;
  std::optional<StepSampler> sampler_;
  std::vector<Sample> eval_samples_;
  SampleRequest spoken_;
  std::optional<RunModel> model_;
  std::optional<Optimizer> optimizer_;
  Json saved_options_;
  Position position_;
  int64_t saved_step_ = -1;
  std::optional<RunLock> lock_;  // both of the first process
  std::optional<RunLog> log_;
  StepMetrics last_;
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

namespace {

// The first process makes folders and fills the cache of codes before the others look.
TrainResult TrainWith(Processes& processes, const TrainRequest& request,
                      const TrainCallbacks& callbacks) {
  std::optional<Run> run;
  if (!processes.is_first()) processes.Wait();
  try {
    run.emplace(request, callbacks, processes);
  } catch (const Cancelled&) {
  }
  if (processes.is_first()) processes.Wait();
  double num_cancelled = run ? 0 : 1;
  processes.Sum({&num_cancelled, 1});
  if (num_cancelled > 0) return {.is_first = processes.is_first()};
  run->CheckSameEverywhere();
  TrainResult result = run->Train();
  processes.Wait();
  return result;
}

}  // namespace

TrainResult Train(const TrainRequest& request, const TrainCallbacks& callbacks) {
  try {
    TrainRequest own = request;
    own.device = DeviceOfProcess(request.device);
    const std::unique_ptr<Processes> processes = JoinProcesses(own.device);
    const TrainCallbacks quiet{.is_cancelled = callbacks.is_cancelled};
    try {
      return TrainWith(*processes, own, processes->is_first() ? callbacks : quiet);
    } catch (const FirstProcessSays&) {
      // No error of this process, which takes leave of the others.
      return {.is_first = false, .has_failed = true};
    }
  } catch (const c10::Error& error) {
    Fail<Error>("LibTorch: {}", error.what_without_backtrace());
  }
}

}  // namespace csm::train

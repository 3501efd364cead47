#include "torch/dataset.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/error.h"
#include "text/conversation.h"
#include "torch/samples.h"

namespace csm::train {
namespace {

std::vector<std::filesystem::path> AudioFiles(std::span<const PlacedConversation> conversations) {
  std::set<std::filesystem::path> files;
  for (const auto& [conversation, place] : conversations) {
    for (auto& file : text::AudioFiles({&conversation, 1})) files.insert(std::move(file));
  }
  return {files.begin(), files.end()};
}

// Fills the cache, several files at a time.
class Encoder {
 public:
  Encoder(const CodeCache& cache, std::vector<std::filesystem::path> files,
          const DatasetCallbacks& callbacks)
      : cache_(cache), files_(std::move(files)), callbacks_(callbacks) {}

  void Run(int num_threads) {
    {
      std::vector<std::jthread> others;
      for (int i = 1; i < num_threads; ++i) others.emplace_back([this] { Work(); });
      Work();
    }
    if (failure_) std::rethrow_exception(failure_);
    if (is_cancelled_) throw Cancelled();
  }

 private:
  void Work() {
    for (size_t i = next_++; i < files_.size() && !is_cancelled_; i = next_++) {
      if (callbacks_.is_cancelled && callbacks_.is_cancelled()) {
        is_cancelled_ = true;
        return;
      }
      try {
        cache_.CodesOf(files_[i]);
      } catch (const FormatError&) {  // its conversation is left out, and says why
      } catch (const FileError&) {
      } catch (const ArgumentError&) {
      } catch (...) {
        const std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
        is_cancelled_ = true;
      }
      const std::lock_guard lock(mutex_);
      ++num_done_;
      if (callbacks_.on_encode) callbacks_.on_encode(num_done_, std::ssize(files_));
    }
  }

  const CodeCache& cache_;
  std::vector<std::filesystem::path> files_;
  const DatasetCallbacks& callbacks_;
  std::atomic<size_t> next_ = 0;
  std::atomic<bool> is_cancelled_ = false;
  std::mutex mutex_;
  int64_t num_done_ = 0;
  std::exception_ptr failure_;
};

}  // namespace

Dataset LoadDataset(std::span<const PlacedConversation> conversations,
                    const CsmProcessor& processor, const MimiModel& codec, const CsmConfig& config,
                    TrainOn train_on, const CodeCache& cache, int num_threads, size_t num_first,
                    const DatasetCallbacks& callbacks) {
  Encoder(cache, AudioFiles(conversations), callbacks).Run(num_threads);
  const auto skip = [&](const std::string& place, const Error& error) {
    if (callbacks.on_note) callbacks.on_note(fmt::format("{} left out: {}", place, error.what()));
  };
  Dataset dataset;
  for (const auto& [conversation, place] : conversations) {
    if (callbacks.is_cancelled && callbacks.is_cancelled()) throw Cancelled();
    try {
      const Conversation encoded = cache.WithCodes(conversation);
      Sample sample = MakeSample(encoded, processor, codec, config, {.train_on = train_on});
      CheckSample(sample, config);
      dataset.samples.push_back(std::move(sample));
      if (dataset.first.size() < num_first) dataset.first.push_back(encoded);
    } catch (const FormatError& error) {
      skip(place, error);
    } catch (const FileError& error) {
      skip(place, error);
    } catch (const ArgumentError& error) {
      skip(place, error);
    }
  }
  return dataset;
}

}  // namespace csm::train

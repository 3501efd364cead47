// Channels-last signals [time, channels] on their way from layer to layer.
#ifndef CSM_MIMI_ROWS_H_
#define CSM_MIMI_ROWS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace csm::mimi {

/// A size of the config, which are signed as in its file.
inline size_t Size(int64_t value) { return static_cast<size_t>(value); }

/// Rows of `channels` floats, contiguous, the oldest first. Keeps its memory when rows are dropped,
/// so that a stream allocates only while its pieces still grow.
class Rows {
 public:
  explicit Rows(size_t channels) : channels_(channels) {}

  size_t channels() const { return channels_; }
  size_t size() const { return num_rows_; }
  float* data() { return data_.data(); }
  const float* data() const { return data_.data(); }
  float* row(size_t i) { return data_.data() + i * channels_; }
  const float* row(size_t i) const { return data_.data() + i * channels_; }

  void Clear() { num_rows_ = 0; }

  /// Makes room for n rows after the last and returns the first of them, to be written by the
  /// caller. Invalidates pointers got before.
  float* Append(size_t n) {
    const size_t begin = num_rows_ * channels_;
    num_rows_ += n;
    if (data_.size() < num_rows_ * channels_) data_.resize(num_rows_ * channels_);
    return data_.data() + begin;
  }

  /// Forgets the first n rows.
  void DropFront(size_t n) {
    num_rows_ -= n;
    if (n > 0 && num_rows_ > 0) {
      std::memmove(data_.data(), row(n), num_rows_ * channels_ * sizeof(float));
    }
  }

 private:
  size_t channels_;
  size_t num_rows_ = 0;
  std::vector<float> data_;
};

/// At least `size` floats, of no particular value; the buffer keeps what it has grown to.
inline float* Grow(std::vector<float>& buffer, size_t size) {
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

/// Streams that step together: rows of each, as many of one as of another, one stream's after the
/// other's. Each weight is then read once for all of them.
template <typename State>
using Streams = std::span<State* const>;

/// A stream that steps by itself.
template <typename State>
class Only {
 public:
  explicit Only(State& state) : state_(&state) {}
  operator Streams<State>() const { return {&state_, 1}; }  // NOLINT(google-explicit-constructor)

 private:
  State* state_;
};

/// The streams' states of a part: part(state) is a reference to it.
template <typename State, typename Part>
auto PartsOf(Streams<State> streams, const Part& part) {
  std::vector<decltype(&part(*streams[0]))> parts;
  for (State* stream : streams) parts.push_back(&part(*stream));
  return parts;
}

/// Calls work(first_row, num_rows) on blocks that cover all rows, on several threads if there is
/// enough to share: a block of 16384 floats takes about 10 us, a parallel region a few.
template <typename Work>
void ForRowBlocks(size_t num_rows, size_t channels, ThreadPool& pool, const Work& work) {
  constexpr size_t kBlockFloats = 16384;
  const size_t block = std::max<size_t>(1, kBlockFloats / std::max<size_t>(1, channels));
  pool.ParallelFor((num_rows + block - 1) / block, [&](size_t i) {
    const size_t first = i * block;
    work(first, std::min(block, num_rows - first));
  });
}

}  // namespace csm::mimi

#endif  // CSM_MIMI_ROWS_H_

#include "model/kv_cache.h"

#include <algorithm>

#include "base/error.h"

namespace csm {
namespace {

// 64 positions of csm-1b are 4 MB: small beside the weights, and 32 growths reach its limit.
constexpr int64_t kSmallestGrowth = 64;

constexpr int64_t kMaxPositions = 1 << 24;  // what a config may say (config_rules.cc)

}  // namespace

void KvCache::Impl::Reserve(int64_t for_num_layers, int64_t for_width, int64_t extra) {
  if (num_layers == 0) {
    num_layers = for_num_layers;
    width = for_width;
    arrays_.resize(static_cast<size_t>(2 * num_layers));
  }
  if (num_layers != for_num_layers || width != for_width) {
    Fail<ArgumentError>(
        "this KvCache holds {} layers of width {} and was given to a stack of {} layers of width "
        "{}; use a cache of its own for each stack",
        num_layers, width, for_num_layers, for_width);
  }
  const int64_t needed = length + extra;
  if (max_length && needed > *max_length) {
    Fail<ArgumentError>("the static KvCache has room for {} positions and {} are needed",
                        *max_length, needed);
  }
  if (needed <= capacity_) return;
  const int64_t capacity =
      max_length ? *max_length
                 : std::max(needed, capacity_ + std::max(capacity_ / 2, kSmallestGrowth));
  for (auto& array : arrays_) array.resize(static_cast<size_t>(capacity * width));
  capacity_ = capacity;  // last: an allocation may fail, and the cache stays as it was
}

void KvCache::Impl::Append(const Impl& other, int64_t extra) {
  Reserve(other.num_layers, other.width, other.length + extra);
  for (size_t i = 0; i < arrays_.size(); ++i) {
    std::copy_n(other.arrays_[i].begin(), other.length * width,
                arrays_[i].begin() + length * width);
  }
  length += other.length;
}

KvCache::KvCache() : impl_(std::make_unique<Impl>()) {}

KvCache::KvCache(int64_t max_cache_len) : KvCache() {
  if (max_cache_len < 1 || max_cache_len > kMaxPositions) {
    Fail<ArgumentError>("max_cache_len is {}; a static KvCache has 1 to {} positions",
                        max_cache_len, kMaxPositions);
  }
  impl_->max_length = max_cache_len;
}

KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&&) noexcept = default;
KvCache& KvCache::operator=(KvCache&&) noexcept = default;

int64_t KvCache::get_seq_length() const { return impl_->length; }

void KvCache::crop(int64_t length) {
  if (length < 0) Fail<ArgumentError>("KvCache::crop was given length {}; it must be >= 0", length);
  impl_->length = std::min(impl_->length, length);
}

}  // namespace csm

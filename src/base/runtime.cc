#include "base/runtime.h"

#include "base/error.h"

namespace csm {
namespace {

constexpr int kMaxThreads = 1024;  // beyond any machine; catches a mistyped number

}  // namespace

Runtime::Runtime(int num_threads) {
  if (num_threads < 0 || num_threads > kMaxThreads) {
    Fail<ArgumentError>("num_threads is {}; it must be 0 (one per core) to {}", num_threads,
                        kMaxThreads);
  }
  impl_ = std::make_shared<Impl>(num_threads == 0 ? NumUsableCores() : num_threads);
}

int Runtime::num_threads() const { return impl_->pool.num_threads(); }

}  // namespace csm

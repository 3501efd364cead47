// What the public csm::Runtime holds.
#ifndef CSM_BASE_RUNTIME_H_
#define CSM_BASE_RUNTIME_H_

#include "base/thread_pool.h"
#include "csm/csm.hpp"

namespace csm {

struct Runtime::Impl {
  explicit Impl(int num_threads) : pool(num_threads) {}
  ThreadPool pool;
};

/// The one given, else a new one. (`value_or` would start threads only to stop them.)
inline Runtime RuntimeOf(const LoadOptions& options) {
  return options.runtime ? *options.runtime : Runtime();
}

}  // namespace csm

#endif  // CSM_BASE_RUNTIME_H_

// Wall time.
#ifndef CSM_BASE_CLOCK_H_
#define CSM_BASE_CLOCK_H_

#include <chrono>

namespace csm {

using Clock = std::chrono::steady_clock;

inline double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace csm

#endif  // CSM_BASE_CLOCK_H_

// LibTorch's errors as the engine's: one line, without the stack of calls.
#ifndef CSM_TORCH_PLAIN_ERRORS_H_
#define CSM_TORCH_PLAIN_ERRORS_H_

#include <torch/torch.h>

#include <string>

#include "base/error.h"

namespace csm::train {

/// Does `work`, which may use the device.
template <typename Work>
auto WithPlainErrors(const Work& work) {
  try {
    return work();
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    Fail<Error>("the device failed: {}", what.substr(0, what.find('\n')));
  }
}

}  // namespace csm::train

#endif  // CSM_TORCH_PLAIN_ERRORS_H_

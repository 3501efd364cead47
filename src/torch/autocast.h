// Mixed precision, as torch.autocast has it.
#ifndef CSM_TORCH_AUTOCAST_H_
#define CSM_TORCH_AUTOCAST_H_

#include <ATen/autocast_mode.h>

namespace csm::train {

/// Products in bf16 while it lives; what must be exact (norms, losses) stays in f32.
class Autocast {
 public:
  explicit Autocast(bool enabled) : was_enabled_(IsEnabled()) {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, enabled);
  }
  ~Autocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, was_enabled_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

  static bool IsEnabled() { return at::autocast::is_autocast_enabled(at::kCPU); }

 private:
  bool was_enabled_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_AUTOCAST_H_

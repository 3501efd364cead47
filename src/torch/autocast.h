// Mixed precision, as torch.autocast has it.
#ifndef CSM_TORCH_AUTOCAST_H_
#define CSM_TORCH_AUTOCAST_H_

#include <ATen/autocast_mode.h>

namespace csm::train {

/// Products in bf16 while it lives; what must be exact (norms, losses) stays in f32.
class Autocast {
 public:
  Autocast(bool enabled, at::DeviceType device) : device_(device), was_enabled_(IsEnabled(device)) {
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    at::autocast::set_autocast_enabled(device, enabled);
  }
  ~Autocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, was_enabled_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

  static bool IsEnabled(at::DeviceType device) { return at::autocast::is_autocast_enabled(device); }

 private:
  at::DeviceType device_;
  bool was_enabled_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_AUTOCAST_H_

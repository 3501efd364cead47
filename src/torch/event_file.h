// TensorBoard's event files: records of Event messages (TensorFlow's event.proto and summary.proto)
// in the TFRecord format.
#ifndef CSM_TORCH_EVENT_FILE_H_
#define CSM_TORCH_EVENT_FILE_H_

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace csm::train {

/// CRC-32C (Castagnoli), which TFRecord's checksums are made of.
uint32_t Crc32c(std::string_view bytes);

class EventFile {
 public:
  /// Makes DIR/events.out.tfevents.SECONDS.HOST.PID. `first_step`: TensorBoard forgets what other
  /// files of the folder say of this step and later ones. Throws FileError.
  EventFile(const std::filesystem::path& dir, int64_t first_step);

  /// Numbers by their tags ("train/loss"). Throws FileError.
  void Write(int64_t step, std::span<const std::pair<std::string, double>> scalars);

 private:
  void WriteRecord(std::string_view event);

  std::filesystem::path file_;
  std::ofstream out_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_EVENT_FILE_H_

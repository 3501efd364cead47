// What a run writes about itself: metrics.jsonl, TensorBoard's event files, report.html.
#ifndef CSM_TORCH_RUN_LOG_H_
#define CSM_TORCH_RUN_LOG_H_

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/json.h"
#include "torch/event_file.h"

namespace csm::train {

class RunLog {
 public:
  /// Goes on from `step`: what an interrupted run wrote after the checkpoint that is resumed did
  /// not happen. Throws FileError.
  RunLog(std::filesystem::path output, int64_t step);

  /// A line {"step": …, name: number, …} of OUTPUT/metrics.jsonl; in OUTPUT/tensorboard under
  /// eval/NAME for "eval_NAME", otherwise under train/NAME. Throws FileError.
  void Write(const Json& line);
  /// Writes OUTPUT/report.html anew: the options, the lines so far as curves, the samples spoken so
  /// far. Throws FileError.
  void WriteReport(const Json& options) const;

 private:
  std::filesystem::path output_;
  Json lines_ = Json::array();
  std::ofstream metrics_;
  std::optional<EventFile> events_;
};

}  // namespace csm::train

#endif  // CSM_TORCH_RUN_LOG_H_

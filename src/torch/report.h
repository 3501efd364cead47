// The page that shows a run and lets it be heard.
#ifndef CSM_TORCH_REPORT_H_
#define CSM_TORCH_REPORT_H_

#include <span>
#include <string>

#include "base/json.h"
#include "torch/spoken_samples.h"

namespace csm::train {

/// An HTML page that needs no other file: curves of the lines of metrics.jsonl, the samples as a
/// table of players (sentences by steps; of many steps, the first and the last ones), the options.
/// Throws FileError if a sample cannot be read.
std::string ReportPage(const Json& options, const Json& lines,
                       std::span<const SpokenSample> samples);

}  // namespace csm::train

#endif  // CSM_TORCH_REPORT_H_

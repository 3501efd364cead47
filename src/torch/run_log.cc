#include "torch/run_log.h"

#include <string>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "checkpoint/config_writer.h"
#include "torch/report.h"

namespace csm::train {
namespace {

constexpr char kMetricsFile[] = "metrics.jsonl";

// The whole lines of a file up to a step.
Json LinesUpTo(const std::filesystem::path& file, int64_t step) {
  Json lines = Json::array();
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const bool has_step = json.is_object() && json.contains("step") && json["step"].is_number();
    if (has_step && json["step"].get<double>() <= static_cast<double>(step)) {
      lines.push_back(std::move(json));
    }
  }
  return lines;
}

std::string Tag(const std::string& name) {
  constexpr std::string_view kEval = "eval_";
  return name.starts_with(kEval) ? "eval/" + name.substr(kEval.size()) : "train/" + name;
}

}  // namespace

RunLog::RunLog(std::filesystem::path output, int64_t step) : output_(std::move(output)) {
  const std::filesystem::path file = output_ / kMetricsFile;
  const std::filesystem::path events = output_ / "tensorboard";
  checkpoint::MakeFolder(events);
  if (step > 0) lines_ = LinesUpTo(file, step);
  std::string kept;
  for (const Json& line : lines_) kept += line.dump() + "\n";
  WriteFileAtomically(file, kept);
  metrics_.open(file, std::ios::app);
  events_.emplace(events, step + 1);
}

void RunLog::Write(const Json& line) {
  metrics_ << line.dump() << std::endl;
  if (!metrics_) {
    Fail<FileError>("cannot write {}: is the disk full?", (output_ / kMetricsFile).string());
  }
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : line.items()) {
    if (name != "step") scalars.emplace_back(Tag(name), value.get<double>());
  }
  events_->Write(line.at("step").get<int64_t>(), scalars);
  lines_.push_back(line);
}

void RunLog::WriteReport(const Json& options) const {
  WriteFileAtomically(output_ / "report.html",
                      ReportPage(options, lines_, ReadSpokenSamples(output_)));
}

}  // namespace csm::train

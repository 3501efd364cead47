#include "torch/report.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/error.h"
#include "torch/svg_chart.h"

namespace csm::train {
namespace {

constexpr size_t kMostSteps = 12;  // of samples in the page, 0.1 MB each

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>csm train: report</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1em; }
svg { width: 100%; border: 1px solid #ddd; border-radius: 6px; background: #fff; }
svg text { font: 11px system-ui, sans-serif; fill: #555; } svg .title { font-size: 13px; font-weight: 600; fill: #222; }
svg .legend { font-weight: 600; } svg .grid { stroke: #eee; }
table { border-collapse: collapse; } td, th { padding: .3em .8em; text-align: left; border-bottom: 1px solid #eee; vertical-align: top; }
.scroll { overflow-x: auto; } audio { width: 240px; } .text { max-width: 22em; }
code { background: #f4f4f4; padding: 0 .3em; border-radius: 3px; }
</style></head><body>
)";

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string Base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t word = 0;
    for (size_t j = 0; j < 3; ++j) {
      word = word << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    }
    for (size_t j = 0; j < 4; ++j) text += j <= count ? kDigits[word >> (18 - 6 * j) & 63U] : '=';
  }
  return text;
}

Curve CurveOf(const Json& lines, const char* key, std::string name) {
  Curve curve{std::move(name), {}};
  for (const Json& line : lines) {
    const auto value = line.find(key);
    if (value != line.end() && value->is_number()) {
      curve.points.emplace_back(line["step"].get<double>(), value->get<double>());
    }
  }
  return curve;
}

std::string Charts(const Json& lines) {
  struct Part {
    const char *title, *train, *eval;
  };
  constexpr std::array kLosses = {
      Part{"Loss", "loss", "eval_loss"},
      Part{"Backbone (codebook 0)", "backbone_loss", "eval_backbone_loss"},
      Part{"Depth decoder (the other codebooks)", "depth_decoder_loss", "eval_depth_decoder_loss"}};
  std::string html = "<h2>Curves by step</h2>\n<div class=\"charts\">\n";
  for (const auto& [title, train, eval] : kLosses) {
    html += SvgChart(
        title, std::array{CurveOf(lines, train, "training"), CurveOf(lines, eval, "evaluation")});
  }
  constexpr std::array kOthers = {std::pair{"grad_norm", "Norm of the gradients"},
                                  std::pair{"learning_rate", "Learning rate"},
                                  std::pair{"frames_per_second", "Frames per second"},
                                  std::pair{"attention_loss", "Guided attention"}};
  for (const auto& [key, title] : kOthers) {
    const auto has_it = [name = key](const Json& line) { return line.contains(name); };
    if (std::none_of(lines.begin(), lines.end(), has_it)) continue;
    html += SvgChart(title, std::array{CurveOf(lines, key, "")});
  }
  return html + "</div>\n";
}

// Of many, the first and the last.
std::set<int64_t> ShownSteps(std::span<const SpokenSample> samples) {
  std::set<int64_t> steps;
  for (const SpokenSample& sample : samples) steps.insert(sample.step);
  while (steps.size() > kMostSteps) steps.erase(std::next(steps.begin()));
  return steps;
}

std::string SampleTable(std::span<const SpokenSample> samples) {
  if (samples.empty()) return "";
  const std::set<int64_t> steps = ShownSteps(samples);
  std::string html = "<h2>Samples</h2>\n<div class=\"scroll\"><table><tr><th>Text</th>";
  for (const int64_t step : steps) html += fmt::format("<th>Step {}</th>", step);
  html += "</tr>\n";
  std::map<int64_t, std::string> texts;
  std::map<std::pair<int64_t, int64_t>, std::string> players;
  for (const SpokenSample& sample : samples) {
    texts[sample.index] = sample.text;
    if (!steps.contains(sample.step)) continue;
    players[{sample.index, sample.step}] =
        fmt::format(R"(<audio controls preload="none" src="data:audio/flac;base64,{}"></audio>)",
                    Base64(ReadFile(sample.file)));
  }
  for (const auto& [index, text] : texts) {
    html += fmt::format("<tr><td class=\"text\">{}</td>", Escaped(text));
    for (const int64_t step : steps) html += "<td>" + players[{index, step}] + "</td>";
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

std::string Value(const Json& value) {
  return Escaped(value.is_string() ? value.get<std::string>() : value.dump());
}

std::string OptionTable(const Json& options) {
  std::string html = "<h2>Options</h2>\n<table>\n";
  for (const auto& [name, value] : options.items()) {
    html +=
        fmt::format("<tr><td><code>{}</code></td><td>{}</td></tr>\n", Escaped(name), Value(value));
  }
  return html + "</table>\n";
}

// The newest of each number, in words.
std::string Summary(const Json& lines) {
  std::map<std::string, Json> last;
  for (const Json& line : lines) {
    for (const auto& [key, value] : line.items()) last[key] = value;
  }
  if (last.empty()) return "<p>No step yet.</p>\n";
  std::string html = fmt::format("<p>Step {}", last["step"].dump());
  for (const auto& [key, name] :
       {std::pair{"loss", "loss"}, std::pair{"eval_loss", "evaluation"}}) {
    if (last.contains(key)) html += fmt::format(", {} {:.4f}", name, last[key].get<double>());
  }
  return html + "</p>\n";
}

}  // namespace

std::string ReportPage(const Json& options, const Json& lines,
                       std::span<const SpokenSample> samples) {
  return std::string(kHead) + "<h1>csm train</h1>\n" + Summary(lines) + SampleTable(samples) +
         Charts(lines) + OptionTable(options) + "</body></html>\n";
}

}  // namespace csm::train

#include "torch/svg_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace csm::train {
namespace {

constexpr double kWidth = 560, kHeight = 300;
constexpr double kLeft = 60, kRight = 12, kTop = 34, kBottom = 34;
constexpr size_t kMostPoints = 500;  // about one a pixel

// Told apart by the colour-blind too (Okabe and Ito).
constexpr std::array<std::string_view, 6> kColours = {"#0072b2", "#d55e00", "#009e73",
                                                      "#cc79a7", "#e69f00", "#56b4e9"};

struct Range {
  double low = 0, high = 1;
};

// The distance of about five ticks: 1, 2 or 5 times a power of ten.
double TickDistance(const Range& range) {
  const double raw = (range.high - range.low) / 5;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

std::vector<double> Ticks(const Range& range, double distance) {
  constexpr int kMost = 20;
  const double first = std::ceil(range.low / distance);
  std::vector<double> ticks;
  for (int i = 0; i < kMost && (first + i) * distance <= range.high; ++i) {
    ticks.push_back((first + i) * distance);
  }
  return ticks;
}

// A little more than `range`, and never next to nothing.
Range Widened(Range range) {
  if (range.high - range.low <= 1e-9 * std::abs(range.low)) {
    const double margin = range.low == 0 ? 1 : std::abs(range.low) * 0.1;
    return {range.low - margin, range.high + margin};
  }
  const double margin = (range.high - range.low) * 0.04;
  return {range.low - margin, range.high + margin};
}

// The curve's finite points; of many, as many as can be seen, the last among them.
std::vector<std::pair<double, double>> Visible(const Curve& curve) {
  std::vector<std::pair<double, double>> points;
  for (const auto& point : curve.points) {
    if (std::isfinite(point.second)) points.push_back(point);
  }
  const size_t step = points.size() / kMostPoints + 1;
  std::vector<std::pair<double, double>> thinned;
  for (size_t i = 0; i < points.size(); ++i) {
    if (i % step == 0 || i + 1 == points.size()) thinned.push_back(points[i]);
  }
  return thinned;
}

class Chart {
 public:
  Chart(const std::string& title, std::span<const Curve> curves) {
    for (const Curve& curve : curves) {
      if (auto points = Visible(curve); !points.empty()) {
        curves_.push_back({curve.name, std::move(points)});
      }
    }
    FindRanges();
    svg_ = fmt::format(
        R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><text x="{}" y="16" class="title">{}</text>)",
        kWidth, kHeight, title, kLeft, title);
    AddAxes();
    for (size_t i = 0; i < curves_.size(); ++i) AddCurve(i);
    svg_ += "</svg>\n";
  }
  const std::string& svg() const { return svg_; }

 private:
  void FindRanges() {
    bool is_first = true;
    for (const Curve& curve : curves_) {
      for (const auto& [x, y] : curve.points) {
        x_ = is_first ? Range{x, x} : Range{std::min(x_.low, x), std::max(x_.high, x)};
        y_ = is_first ? Range{y, y} : Range{std::min(y_.low, y), std::max(y_.high, y)};
        is_first = false;
      }
    }
    x_ = Widened(x_);
    y_ = Widened(y_);
  }
  double X(double x) const {
    return kLeft + (x - x_.low) / (x_.high - x_.low) * (kWidth - kLeft - kRight);
  }
  double Y(double y) const {
    return kHeight - kBottom - (y - y_.low) / (y_.high - y_.low) * (kHeight - kTop - kBottom);
  }

  void AddAxes() {
    const double x_step = TickDistance(x_), y_step = TickDistance(y_);
    for (const double y : Ticks(y_, y_step)) {
      svg_ += fmt::format(
          R"(<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/><text class="tick" text-anchor="end" x="{}" y="{:.1f}">{:.6g}</text>)",
          kLeft, kWidth - kRight, Y(y), Y(y), kLeft - 6, Y(y) + 4,
          std::abs(y) < y_step * 1e-9 ? 0.0 : y);
    }
    for (const double x : Ticks(x_, x_step)) {
      if (x < 0 || x != std::floor(x)) continue;  // there is no such step
      svg_ +=
          fmt::format(R"(<text class="tick" text-anchor="middle" x="{:.1f}" y="{}">{:.10g}</text>)",
                      X(x), kHeight - kBottom + 16, x);
    }
  }

  void AddCurve(size_t i) {
    const Curve& curve = curves_[i];
    const std::string_view colour = kColours[i % kColours.size()];
    std::string points;
    for (const auto& [x, y] : curve.points) points += fmt::format("{:.1f},{:.1f} ", X(x), Y(y));
    svg_ += fmt::format(
        R"(<polyline fill="none" stroke="{}" stroke-width="1.5" points="{}"/><text class="legend" style="fill:{}" text-anchor="end" x="{}" y="{}">{}</text>)",
        colour, points, colour, kWidth - kRight, kTop - 18 + 15 * static_cast<double>(i),
        curve.name);
    for (const auto& [x, y] : curve.points) {
      svg_ += fmt::format(
          R"(<circle fill="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}, step {:.10g}: {:.5g}</title></circle>)",
          colour, X(x), Y(y), curve.points.size() < 60 ? 2.5 : 1.2, curve.name, x, y);
    }
  }

  std::vector<Curve> curves_;
  Range x_, y_;
  std::string svg_;
};

}  // namespace

std::string SvgChart(const std::string& title, std::span<const Curve> curves) {
  return Chart(title, curves).svg();
}

}  // namespace csm::train

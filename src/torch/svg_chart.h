// Curves as an SVG picture, for report.html.
#ifndef CSM_TORCH_SVG_CHART_H_
#define CSM_TORCH_SVG_CHART_H_

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace csm::train {

struct Curve {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< x (steps) rising
};

/// An <svg> element: axes with round numbers, a colour and a legend entry for each curve that has
/// points, the value of each point as its tooltip. Points that are not finite are left out. Long
/// curves are thinned to what can be seen.
std::string SvgChart(const std::string& title, std::span<const Curve> curves);

}  // namespace csm::train

#endif  // CSM_TORCH_SVG_CHART_H_

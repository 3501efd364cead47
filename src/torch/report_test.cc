// What a run writes to be looked at.
#include "torch/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/json.h"
#include "torch/event_file.h"
#include "torch/svg_chart.h"

namespace csm::train {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

size_t Count(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(EventFileTest, Crc32cOfTheStandard) {  // RFC 3720, B.4
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43U);
}

TEST(SvgChartTest, EachCurveWithPointsIsDrawn) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Curve> curves = {
      {"training", {{1, 5}, {2, nan}, {3, 4}}}, {"evaluation", {{3, 4.5}}}, {"empty", {}}};
  const std::string svg = SvgChart("Loss", curves);
  EXPECT_EQ(Count(svg, "<polyline"), 2U);
  EXPECT_EQ(Count(svg, "<circle"), 3U);
  EXPECT_THAT(svg, HasSubstr("<title>training, step 3: 4</title>"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("empty")));
}

TEST(SvgChartTest, EverythingStaysInThePicture) {
  for (const double scale : {1e-9, 1.0, 1e9}) {
    Curve curve{"x", {}};
    for (int i = 0; i < 10000; ++i) curve.points.emplace_back(i, scale * std::sin(i * 0.01));
    const std::string svg = SvgChart("Many", {&curve, 1});
    EXPECT_LT(Count(svg, "<circle"), 600U);
    EXPECT_GT(Count(svg, "<circle"), 400U);
    EXPECT_GE(Count(svg, "class=\"grid\""), 3U);
    EXPECT_LE(Count(svg, "class=\"grid\""), 12U);
    EXPECT_THAT(svg, Not(HasSubstr("=\"-")));  // no coordinate is negative
  }
}

TEST(SvgChartTest, OnePointAndNone) {
  const std::vector<Curve> one = {{"x", {{7, 0}}}};
  EXPECT_EQ(Count(SvgChart("One", one), "<circle"), 1U);
  EXPECT_EQ(Count(SvgChart("None", {}), "<circle"), 0U);
}

TEST(ReportTest, NothingBreaksOutOfItsPlace) {
  const Json options = {{"freeze", "<script>alert(1)</script>"}, {"seed", 1}};
  const std::string page = ReportPage(options, Json::array(), {});
  EXPECT_THAT(page, Not(HasSubstr("<script>")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
  EXPECT_THAT(page, HasSubstr("No step yet"));
}

}  // namespace
}  // namespace csm::train

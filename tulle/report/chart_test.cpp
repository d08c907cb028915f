#include "tulle/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

#include "tulle/report/axis.h"

namespace tulle {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Chart line_of(const std::vector<double>& values) {
  Chart chart{.title = "Loss", .unit = "", .x_label = "epoch", .series = {{.name = "train", .points = {}}}};
  for (const double y : values)
    chart.series[0].points.push_back({static_cast<double>(chart.series[0].points.size() + 1), y});
  return chart;
}

/// The d of the first path of this class.
std::string path_of(const std::string& figure, const std::string& css_class) {
  std::smatch found;
  std::regex_search(figure, found, std::regex("class=\"" + css_class + " s0\"[^>]* d=\"([^\"]*)\""));
  return found[1];
}

std::vector<std::string> labels(const Axis& axis) {
  std::vector<std::string> labels;
  for (const double tick : axis.ticks) labels.push_back(axis.label(tick));
  return labels;
}

TEST(Axis, ReachesAroundTheDataInRoundSteps) {
  EXPECT_THAT(labels(round_axis(0.31, 0.76, 5)), ElementsAre("0.3", "0.4", "0.5", "0.6", "0.7", "0.8"));
  EXPECT_THAT(labels(round_axis(-12000, 23000, 5)), ElementsAre("-20k", "-10k", "0", "10k", "20k", "30k"));
  EXPECT_THAT(labels(round_axis(0, 2.5e7, 3)), ElementsAre("0", "10M", "20M", "30M"));
  EXPECT_THAT(labels(round_axis(0, 2e-8, 2)), ElementsAre("0", "1e-08", "2e-08"));
}

TEST(Axis, OfEqualValuesHasRoomAroundThem) {
  for (const double value : {0.0, 0.1, -3.0, 1e300, 1e-300, 1.0 + 1e-15}) {
    const Axis axis = round_axis(std::min(value, 1.0 * value), value, 5);
    EXPECT_LE(axis.low, value);
    EXPECT_GT(axis.high, value);
    EXPECT_LE(axis.ticks.size(), 12u) << value;
    EXPECT_GE(axis.ticks.size(), 2u) << value;
  }
}

TEST(Axis, OfEpochsHasWholeNumbersAndEndsAtTheData) {
  const Axis few = count_axis(1, 3, 6);
  EXPECT_THAT(labels(few), ElementsAre("1", "2", "3"));
  const Axis many = count_axis(1, 1000, 5);
  EXPECT_THAT(labels(many), ElementsAre("200", "400", "600", "800", "1000"));
  EXPECT_EQ(many.low, 1);
  EXPECT_EQ(many.high, 1000);
  EXPECT_THAT(count_axis(7, 7, 6).share(7), DoubleNear(0.5, 1e-12));
}

TEST(Figures, AreReadable) {
  EXPECT_EQ(grouped(1234567), "1\u202f234\u202f567");
  EXPECT_EQ(grouped(-123), "-123");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(duration(0.354), "0.35 s");
  EXPECT_EQ(duration(125), "2 min 05 s");
  EXPECT_EQ(duration(3600 + 7 * 60), "1 h 07 min");
  EXPECT_EQ(duration(kNan), "-");
}

TEST(Thin, KeepsShortSeriesAsTheyAre) {
  std::vector<Point> points(2000);
  EXPECT_EQ(thin(points, 10).size(), 2000u);
}

TEST(Thin, KeepsTheExtremesAndGapsOfEveryColumnInOrder) {
  std::vector<Point> points;
  for (int i = 0; i < 100'000; ++i) points.push_back({1.0 * i, std::sin(0.01 * i)});
  points[33'333].y = 50;
  points[33'334].y = -60;
  points[77'777].y = kNan;
  const std::vector<Point> kept = thin(points, 600);
  EXPECT_LE(kept.size(), 1801u);
  EXPECT_GE(kept.size(), 1200u);
  std::vector<double> remarkable;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_TRUE(i == 0 || kept[i - 1].x < kept[i].x) << i;
    if (std::isnan(kept[i].y) || std::abs(kept[i].y) > 1) remarkable.push_back(kept[i].x);
  }
  EXPECT_THAT(remarkable, ElementsAre(33'333, 33'334, 77'777));
}

TEST(ChartFigure, DrawsALineFromPointToPoint) {
  const std::string figure = chart_figure(line_of({0, 1, 0.5}));
  EXPECT_EQ(path_of(figure, "line"), "M500 2160l2050-2060 2050 1030");
  EXPECT_THAT(figure, HasSubstr("<title>Loss by epoch: train from 0 to 0.5</title>"));
}

TEST(ChartFigure, LeavesAGapWhereNothingFiniteIsKnown) {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::string figure = chart_figure(line_of({0, 1, kNan, 1, 0, infinity, 0}));
  const std::string path = path_of(figure, "line");
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 3);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'l'), 2);
  EXPECT_THAT(figure, Not(HasSubstr("nan")));
  EXPECT_THAT(figure, Not(HasSubstr("inf")));
}

TEST(ChartFigure, ShowsAPointBetweenTwoGapsAsADot) {
  std::vector<double> values(100, 1.0);
  values[40] = values[42] = kNan;
  values[41] = 0.0;
  const std::string dots = path_of(chart_figure(line_of(values)), "dot");
  EXPECT_EQ(std::count(dots.begin(), dots.end(), 'M'), 1);
  EXPECT_THAT(dots, HasSubstr(" 2160h0"));
}

TEST(ChartFigure, WithoutAnyFinitePointSaysSo) {
  EXPECT_THAT(chart_figure(line_of({kNan})), HasSubstr("No finite values."));
  EXPECT_THAT(chart_figure(line_of({})), Not(HasSubstr("<svg")));
}

TEST(ChartFigure, HoldsTheLargestNumbers) {
  const double largest = std::numeric_limits<double>::max();
  const std::string figure = chart_figure(line_of({-largest, 0, largest}));
  EXPECT_THAT(figure, Not(HasSubstr("nan")));
  EXPECT_THAT(figure, Not(HasSubstr("inf")));
}

TEST(ChartFigure, BarsStandOnZero) {
  Chart chart = line_of({4, 0, 8});
  chart.bars = true;
  const std::string path = path_of(chart_figure(chart), "bar");
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2);  // none of height zero
  EXPECT_THAT(path, HasSubstr(" 2160l0-1030"));
}

TEST(ChartFigure, TwoSidesOfZeroAreToldWithoutSign) {
  Chart chart = line_of({-4, -8});
  chart.bars = chart.mirrored = true;
  EXPECT_THAT(chart_figure(chart), Not(HasSubstr(">-")));
  EXPECT_THAT(chart_figure(chart), HasSubstr("train up to 8"));
}

TEST(ChartFigure, EscapesItsNames) {
  Chart chart = line_of({1, 2});
  chart.title = chart.unit = chart.x_label = chart.series[0].name = "<i>&";
  chart.series.push_back(chart.series[0]);
  chart.series[1].name = "\"</script><script>";
  const std::string figure = chart_figure(chart);
  EXPECT_THAT(figure, Not(HasSubstr("<i>&")));
  EXPECT_THAT(figure, Not(HasSubstr("script>")));
  EXPECT_THAT(figure, HasSubstr("<li><i class=\"b0\"></i>&lt;i&gt;&amp;</li>"));
}

Chart two_lines(const std::string& second) {
  Chart chart = line_of({0, 1});
  chart.series.push_back({.name = second, .color = 1, .points = {{1, 0}, {2, 0.98}}});
  return chart;
}

TEST(ChartFigure, ShortNamesStandAtTheEndsOfTheirLinesWithoutOverlap) {
  const std::string figure = chart_figure(two_lines("test"));
  EXPECT_THAT(figure, Not(HasSubstr("legend")));
  const std::regex key("class=\"key s[01]\" x=\"\\d+\" y=\"([\\d.]+)\"[^>]*>(train|test)<");
  std::vector<double> heights;
  for (std::sregex_iterator at(figure.begin(), figure.end(), key), end; at != end; ++at)
    heights.push_back(std::stod((*at)[1]));
  ASSERT_EQ(heights.size(), 2u);
  EXPECT_GE(std::abs(heights[0] - heights[1]), 14.0);
}

TEST(ChartFigure, LongNamesStandInALegend) {
  const std::string figure = chart_figure(two_lines("a name that is too long"));
  EXPECT_THAT(figure, HasSubstr("<ul class=\"legend\">"));
  EXPECT_THAT(figure, Not(HasSubstr("class=\"key")));
}

TEST(ChartFigure, ABandRunsAlongItsHighestAndBackAlongItsLowestValues) {
  Chart chart = line_of({1, 1});
  chart.series[0].band = {{1, 0, 2}, {2, 0.5, 1.5}};
  EXPECT_EQ(path_of(chart_figure(chart), "band"), "M500 100l4100 515 0 1030-4100 515z");
}

TEST(ChartFigure, ManyLongSeriesKeepFewerPointsEach) {
  Chart chart{.title = "Loss", .unit = "", .x_label = "epoch", .series = {}};
  const auto bytes_of = [&](int series) {
    chart.series.assign(static_cast<std::size_t>(series), Series{});
    for (Series& one : chart.series)
      for (int i = 0; i < 2000; ++i) one.points.push_back({1.0 * i, std::sin(1.0 * i)});
    return chart_figure(chart).size();
  };
  EXPECT_LT(bytes_of(20), 4 * bytes_of(1));
}

TEST(ChartFigure, FromTheNinthOnColoursComeAgainDashed) {
  Chart chart = line_of({1, 2});
  chart.series[0].color = 9;
  EXPECT_THAT(chart_figure(chart), HasSubstr("class=\"line s1 dashed\""));
}

}  // namespace
}  // namespace tulle

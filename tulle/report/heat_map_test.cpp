#include "tulle/report/heat_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

struct Cell {
  std::string color, title;
  friend bool operator==(const Cell&, const Cell&) = default;
};

/// The cells of the picture by (row, column); fails if two lie on one another.
std::map<std::pair<int, int>, Cell> cells_of(const std::string& figure) {
  std::map<std::pair<int, int>, Cell> cells;
  const std::regex path("<path fill=\"([^\"]*)\" d=\"([^\"]*)\"><title>([^<]*)</title>");
  const std::regex cell("M(\\d+) (\\d+)h1v1h-1z");
  for (std::sregex_iterator p(figure.begin(), figure.end(), path), end; p != end; ++p) {
    const std::string d = (*p)[2];
    for (std::sregex_iterator c(d.begin(), d.end(), cell); c != end; ++c) {
      const bool is_new =
          cells.insert({{std::stoi((*c)[2]), std::stoi((*c)[1])}, Cell{(*p)[1], (*p)[3]}}).second;
      EXPECT_TRUE(is_new) << (*c)[0];
    }
  }
  return cells;
}

// Relative luminance, as far as order needs it: of "#rrggbb" without the gamma.
double lightness(const std::string& color) {
  const auto part = [&](std::size_t at) { return std::stoi(color.substr(at, 2), nullptr, 16); };
  return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
}

TEST(HeatColor, GrowsLighterAllTheWay) {
  for (int i = 0; i < 256; ++i)
    EXPECT_LE(lightness(heat_color(i / 256.0)), lightness(heat_color((i + 1) / 256.0)) + 0.5) << i;
  EXPECT_EQ(heat_color(-1), "#440154");
  EXPECT_EQ(heat_color(2), "#fde725");
}

TEST(InputsFigure, HasOneCellForEachPixelWhereItLies) {
  const auto cells =
      cells_of(inputs_figure({.height = 2, .width = 3, .channels = 1, .degree = {5, 7, 5, 9, 0, 1}}));
  ASSERT_EQ(cells.size(), 6u);
  EXPECT_EQ(cells.at({0, 1}).title, "7 connections");
  EXPECT_EQ(cells.at({1, 0}).title, "9 connections");
  EXPECT_EQ(cells.at({0, 0}), cells.at({0, 2}));
}

TEST(InputsFigure, IsLighterWhereThereAreMoreConnections) {
  InputsRecord inputs{.height = 28, .width = 28, .channels = 1, .degree = {}};
  for (int i = 0; i < 28 * 28; ++i) inputs.degree.push_back(i);
  const auto cells = cells_of(inputs_figure(inputs));
  ASSERT_EQ(cells.size(), 784u);
  double before = 0.0;
  for (const auto& [place, cell] : cells) {
    EXPECT_GE(lightness(cell.color), before);
    before = lightness(cell.color);
  }
  EXPECT_GT(before - lightness(cells.at({0, 0}).color), 150);  // the whole scale is used
}

TEST(InputsFigure, AddsUpTheChannelsOfAPixel) {
  const std::string figure =
      inputs_figure({.height = 1, .width = 2, .channels = 3, .degree = {1, 2, 10, 20, 100, 200}});
  const auto cells = cells_of(figure);
  ASSERT_EQ(cells.size(), 2u);
  EXPECT_EQ(cells.at({0, 0}).title, "111 to 112 connections");
  EXPECT_EQ(cells.at({0, 1}).title, "221 to 222 connections");
  EXPECT_THAT(figure, HasSubstr("sum of 3 channels"));
}

TEST(InputsFigure, ShowsLargeImagesInMeansOfBlocks) {
  InputsRecord inputs{.height = 1, .width = 129, .channels = 1, .degree = {}};
  inputs.degree.assign(129, 4);
  inputs.degree[0] = 2;
  const std::string figure = inputs_figure(inputs);
  const auto cells = cells_of(figure);
  ASSERT_EQ(cells.size(), 65u);
  EXPECT_EQ(cells.at({0, 0}).title, "3 connections");
  EXPECT_THAT(figure, HasSubstr("means of 2 × 2"));
}

TEST(InputsFigure, CountsThePixelsWithoutConnections) {
  const std::string figure = inputs_figure({.height = 1, .width = 4, .channels = 1, .degree = {0, 0, 0, 8}});
  EXPECT_THAT(figure, HasSubstr("<dt>pixels without any</dt><dd>3</dd>"));
}

TEST(InputsFigure, OfInputsThatAreNoImageIsAProfileOfBars) {
  for (const InputsRecord& inputs :
       {InputsRecord{.degree = {1, 2, 3}},
        InputsRecord{.height = 2, .width = 2, .channels = 1, .degree = {1, 2, 3}},
        InputsRecord{.height = -1, .width = -3, .channels = 1, .degree = {1, 2, 3}}}) {
    const std::string figure = inputs_figure(inputs);
    EXPECT_THAT(figure, HasSubstr("Connections of each input"));
    EXPECT_THAT(figure, Not(HasSubstr("heat")));
  }
  EXPECT_EQ(inputs_figure({}), "");
}

}  // namespace
}  // namespace tulle

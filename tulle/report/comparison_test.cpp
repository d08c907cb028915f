#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tulle/report/html.h"
#include "tulle/report/text_testing.h"

namespace tulle {
namespace {

using testing::count_of;
using ::testing::HasSubstr;
using ::testing::Not;

/// A finished training whose test accuracy ends at `accuracy`.
RunRecord training_of(std::int64_t seed, double accuracy, int epochs = 3) {
  RunRecord run;
  run.directory = "out/run";
  run.start.seed = seed;
  for (int number = 1; number <= epochs; ++number) {
    EpochRecord epoch;
    epoch.epoch = number;
    epoch.train_loss = 1.0 / number + 0.1 * std::sin(number * (1.0 + 0.1 * static_cast<double>(seed)));
    epoch.test_loss = 1.1 * epoch.train_loss;
    epoch.train_accuracy = epoch.test_accuracy = accuracy - 0.01 * (epochs - number);
    epoch.learning_rate = 0.1 / number;
    epoch.nnz = 100;
    epoch.exploration = 0.001 * number;
    epoch.layer_density = {0.1, 1.0};
    run.epochs.push_back(epoch);
    run.evolutions.push_back(
        {.epoch = number, .layer = 0, .dropped = 30, .grown = 30, .explored = 0.001 * number});
  }
  run.result = {.rows = {{.name = "test accuracy",
                          .sparse = accuracy,
                          .dense = 0.95,
                          .sparse_text = "",
                          .dense_text = "",
                          .factor = ""}},
                .note = "",
                .class_names = {},
                .confusion = {}};
  run.config = "[run]\n";
  return run;
}

TEST(Comparison, SeveralRunsHaveARowEachAndTheirCurvesInOneChart) {
  const std::string page = html_report({{.name = "first", .seeds = {training_of(1, 0.9)}},
                                        {.name = "second", .seeds = {training_of(1, 0.8)}}});
  EXPECT_THAT(page, HasSubstr("<h1>first and second</h1>"));
  EXPECT_THAT(page,
              HasSubstr("</i>first</th><td>90.00\u202f%<small class=\"dense\">dense 95.00\u202f%</small>"));
  EXPECT_THAT(page, HasSubstr("</i>second</th><td>80.00\u202f%"));
  EXPECT_THAT(page,
              HasSubstr("<title>Accuracy, test by epoch: first from 88 to 90 %; second from 78 to 80 %"));
  EXPECT_EQ(count_of("<details>", page), 2u);
}

TEST(Comparison, SeedsBecomeTheirMeanWithItsDeviationAndABand) {
  const std::string page =
      html_report({{.name = "run", .seeds = {training_of(1, 0.88), training_of(2, 0.92)}}});
  EXPECT_THAT(page, HasSubstr("<th>seed 1</th><td>88.00"));
  EXPECT_THAT(page, HasSubstr("90.00\u202f% <small>\u00b1\u202f2.83\u202f%</small>"));
  EXPECT_THAT(page, HasSubstr("class=\"band "));
  EXPECT_THAT(page, HasSubstr("2 seeds"));
}

TEST(Comparison, ASeedThatIsShorterOrDivergedLeavesTheOthersTheirMean) {
  RunRecord diverged = training_of(2, 0.5, 2);
  for (EpochRecord& epoch : diverged.epochs) epoch.test_accuracy = std::nan("");
  const std::string page = html_report({{.name = "run", .seeds = {training_of(1, 0.9), diverged}}});
  EXPECT_THAT(page, HasSubstr("test from 88 to 90 %"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(Comparison, ARunThatStillTrainsIsToldByItsLastEpoch) {
  RunRecord run = training_of(1, 0.9);
  run.result.reset();
  const std::string page =
      html_report({{.name = "a", .seeds = {run}}, {.name = "b", .seeds = {RunRecord{}}}});
  EXPECT_THAT(page, HasSubstr("</i>a</th><td>90.00"));
  EXPECT_THAT(page, HasSubstr("</i>b</th><td></td>"));
}

TEST(Comparison, HostileNamesOfRunsBecomeText) {
  const std::string evil = "</script><img src=x onerror='a'>\"&";
  const std::string page = html_report(
      {{.name = evil, .seeds = {training_of(1, 0.9)}}, {.name = evil, .seeds = {training_of(1, 0.9)}}});
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_EQ(count_of("</script", page), 2u);
}

TEST(Comparison, AThousandEpochsOfTenRunsStayUnderHalfAMegabyte) {
  std::vector<ReportRun> runs;
  for (int run = 0; run < 10; ++run)
    runs.push_back({.name = "run " + std::to_string(run), .seeds = {training_of(run, 0.9, 1000)}});
  EXPECT_LT(html_report(runs).size(), 500'000u);
}

TEST(Comparison, DetailsThatWouldMakeThePageTooLargeAreLeftOutAndItIsSaid) {
  std::vector<ReportRun> runs;
  for (int run = 0; run < 10; ++run) {
    RunRecord training = training_of(run, 0.9);
    training.config = std::string(100'000, 'x');
    runs.push_back({.name = "run " + std::to_string(run), .seeds = {training}});
  }
  const std::string page = html_report(runs);
  EXPECT_LT(page.size(), 500'000u);
  EXPECT_THAT(page, HasSubstr("run 9: its details are left out"));
  EXPECT_THAT(page, HasSubstr("</i>run 9</th>"));
}

TEST(Comparison, TheLivePageMayFetchItselfAndNothingElse) {
  const std::vector<ReportRun> runs{{.name = "run", .seeds = {training_of(1, 0.9)}}};
  EXPECT_THAT(html_report(runs, {.live = true}), HasSubstr("connect-src 'self'\""));
  EXPECT_THAT(html_report(runs, {.live = true}), HasSubstr("<body data-live>"));
  EXPECT_THAT(html_report(runs), Not(HasSubstr("data-live>")));
}

}  // namespace
}  // namespace tulle

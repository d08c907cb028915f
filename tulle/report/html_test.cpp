#include "tulle/report/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>

#include "tulle/report/escape.h"
#include "tulle/report/text_testing.h"

namespace tulle {
namespace {

using testing::count_of;
using ::testing::HasSubstr;
using ::testing::Not;

EpochRecord epoch_of(int number) {
  EpochRecord epoch;
  epoch.epoch = number;
  epoch.step = 10 * number;
  epoch.train_loss = 1.0 / number + 0.01 * (number % 7);
  epoch.train_accuracy = 1.0 - 0.5 / number;
  epoch.test_loss = 1.5 / number;
  epoch.test_accuracy = 0.9 - 0.5 / number;
  epoch.learning_rate = 0.1 / number;
  epoch.nnz = 12;
  epoch.layer_density = {0.25, 1.0};
  epoch.seconds = 0.5;
  epoch.connections_per_second = 2e9;
  epoch.phases = {.forward = 0.25, .backward = 0.25};
  return epoch;
}

/// A run with something in every part of the page.
RunRecord run_of(int epochs) {
  RunRecord run;
  run.directory = "runs/first/";
  run.start = {.version = "0.1.0", .isa = "avx2", .threads = 2, .seed = 7, .nnz = 12, .dense = 40};
  for (int number = 1; number <= epochs; ++number) {
    run.epochs.push_back(epoch_of(number));
    run.evolutions.push_back({.epoch = number, .layer = 0, .dropped = 3, .grown = 3});
  }
  run.inputs = {.height = 2, .width = 3, .channels = 1, .degree = {0, 1, 2, 3, 4, 5}};
  run.result = {.rows = {{.name = "loss",
                          .sparse = 0.5,
                          .dense = 0.25,
                          .sparse_text = "0.50",
                          .dense_text = "0.25",
                          .factor = "2.0 x worse"}},
                .note = "a note",
                .class_names = {"cat", "dog"},
                .confusion = {81, 19, 3, 97}};
  run.end = {.reason = "finished", .best_epoch = epochs, .exit = 0};
  run.config = "[train]\nepochs = 5\n";
  return run;
}

std::string page_of(RunRecord run) {
  ReportRun report{.name = run_name(run.directory)};
  report.seeds.push_back(std::move(run));
  return html_report({report});
}

TEST(Escape, MarkupBecomesText) {
  EXPECT_EQ(escape_html("</script><a href=\"x\" id='y'>&amp;"),
            "&lt;/script&gt;&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp;");
}

TEST(Escape, ControlCharactersAndTurnsOfDirectionAreShownNotDone) {
  EXPECT_EQ(escape_html(std::string("a\0b\x1b\r\x7f", 6)), "a\\u{0}b\\u{1b}\\u{d}\\u{7f}");
  EXPECT_EQ(escape_html("\u0085 \u202e \u2066"), "\\u{85} \\u{202e} \\u{2066}");
  EXPECT_EQ(escape_html("a\n\tb"), "a\n\tb");
}

TEST(Escape, OtherLettersPassAndBytesThatAreNoUtf8AreReplaced) {
  EXPECT_EQ(escape_html("Käse 日本 😀"), "Käse 日本 😀");
  EXPECT_EQ(escape_html("a\xff"
                        "b"),
            "a\ufffdb");
  EXPECT_EQ(escape_html("\xc0\xbc"), "\ufffd\ufffd");            // '<' in two bytes
  EXPECT_EQ(escape_html("\xe0\x80\xbc"), "\ufffd\ufffd\ufffd");  // and in three
  EXPECT_EQ(escape_html("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");  // half of a surrogate pair
  EXPECT_EQ(escape_html("\xe6\x97"), "\ufffd\ufffd");            // cut short
}

TEST(HtmlReport, TellsEveryPartOfTheRun) {
  const std::string page = page_of(run_of(5));
  for (const char* text :
       {"<h1>first</h1>", "Trained for 5 epochs, 50 steps.", "80.00", "best 80.00", "2.0 x worse", "a note",
        "<h3>Loss</h3>", "<h3>Accuracy <small>%</small></h3>", "<h3>Learning rate</h3>", "Time by phase",
        "Layers", "Dropped and grown", "Connections of each pixel", "Confusion matrix", ">81</td>", ">dog<",
        "Most often confused", "[train]\nepochs = 5\n", "tulle 0.1.0 · avx2 · 2 threads · seed 7"})
    EXPECT_THAT(page, HasSubstr(text));
}

TEST(HtmlReport, NoNameCanLeaveItsPlace) {
  const std::string evil = "</script></style></title><img src=x onerror='a'>\"&\x01";
  RunRecord run = run_of(2);
  run.directory = "runs/<img src=x>\"&\x01";
  run.start.version = run.start.isa = run.start.time = run.end->reason = run.config = evil;
  run.start.files = {{evil, 5}};
  run.result->note = evil;
  run.result->class_names = {evil, evil};
  ResultRow& row = run.result->rows[0];
  row.name = row.sparse_text = row.dense_text = row.factor = evil;
  const std::string page = page_of(run);
  EXPECT_THAT(page, Not(HasSubstr("<img")));
  EXPECT_EQ(count_of("</script", page), 2u);  // its own, and that of the data
  EXPECT_THAT(page, Not(HasSubstr("'a'")));
  EXPECT_THAT(page, Not(HasSubstr("\x01")));
  EXPECT_EQ(count_of("</style>", page), 1u);
  EXPECT_EQ(count_of("</title>", page), count_of("<title>", page));
  EXPECT_GE(count_of("&lt;/script&gt;", page), 13u);  // every one of them is shown
}

TEST(HtmlReport, FetchesNothingAndRunsNothingButItsOwnScript) {
  const std::string page = page_of(run_of(5));
  for (const char* text : {"http://", "https://", "src=", "href", "url(", "@import", "<link", "onload"})
    EXPECT_THAT(page, Not(HasSubstr(text)));
  EXPECT_EQ(count_of("<script", page), 2u);
  EXPECT_EQ(count_of("<script type=\"application/json\" id=\"tulle-data\">", page), 1u);
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, Not(HasSubstr("connect-src")));
}

TEST(HtmlReport, EveryPictureSaysWhatItShows) {
  const std::string page = page_of(run_of(5));
  EXPECT_EQ(count_of("<svg", page), 7u);
  const std::regex named("<svg role=\"img\"[^>]*><title>[^<]+</title>");
  EXPECT_EQ(std::distance(std::sregex_iterator(page.begin(), page.end(), named), {}), 7);
}

TEST(HtmlReport, ARunWithoutAnyRecordIsAPageThatSaysSo) {
  const std::string page = page_of(RunRecord{});
  EXPECT_THAT(page, HasSubstr("No epoch is finished yet."));
  EXPECT_THAT(page, HasSubstr("<h1>run</h1>"));
  EXPECT_THAT(page, Not(HasSubstr("<h2>")));
  EXPECT_THAT(page, HasSubstr("</html>"));
}

TEST(HtmlReport, ARunThatWasStoppedOrStillTrainsSaysSo) {
  RunRecord run = run_of(1);
  run.end->reason = "stopped";
  EXPECT_THAT(page_of(run), HasSubstr("1 epoch, 10 steps; ended: stopped."));
  run.end.reset();
  EXPECT_THAT(page_of(run), HasSubstr("1 epoch, 10 steps; not finished yet."));
}

TEST(HtmlReport, WithoutADenseRunThereIsNoColumnForIt) {
  RunRecord run = run_of(1);
  run.result->rows[0].dense_text = run.result->rows[0].factor = "";
  EXPECT_THAT(page_of(run), Not(HasSubstr("<th>dense</th>")));
}

TEST(HtmlReport, ARegressionHasNoAccuracyAndNoClasses) {
  RunRecord run = run_of(3);
  for (EpochRecord& epoch : run.epochs) epoch.train_accuracy = epoch.test_accuracy = std::nullopt;
  run.result->class_names.clear();
  run.result->confusion.clear();
  const std::string page = page_of(run);
  EXPECT_THAT(page, Not(HasSubstr("ccuracy")));
  EXPECT_THAT(page, Not(HasSubstr("<h2>Classes")));
  EXPECT_THAT(page, HasSubstr("<dt>Test loss</dt><dd>0.5<small>best 0.5 in epoch 3"));
}

TEST(HtmlReport, TheBestEpochMayBeAnEarlierOneAndIsNeverNan) {
  RunRecord run = run_of(3);
  run.epochs[0].test_accuracy = std::nan("");
  run.epochs[1].test_accuracy = 0.97;
  EXPECT_THAT(page_of(run), HasSubstr("in epoch 2"));
}

TEST(HtmlReport, ADivergedRunShowsNoNanToAPicture) {
  RunRecord run = run_of(4);
  for (EpochRecord& epoch : run.epochs) {
    epoch.train_loss = std::nan("");
    epoch.test_loss = std::numeric_limits<double>::infinity();
    epoch.test_accuracy = std::nan("");
    epoch.seconds = epoch.connections_per_second = std::nan("");
  }
  const std::string page = page_of(run);
  EXPECT_THAT(page, HasSubstr("No finite values."));
  const std::regex broken("(d|x|y|style)=\"[^\"]*(nan|inf)");
  EXPECT_FALSE(std::regex_search(page, broken));
}

TEST(HtmlReport, AMatrixThatDoesNotFitItsNamesIsLeftOut) {
  RunRecord run = run_of(1);
  run.result->confusion.pop_back();
  EXPECT_THAT(page_of(run), Not(HasSubstr("<h2>Classes")));
}

TEST(HtmlReport, ManyClassesAreToldByTheirWorstPairs) {
  RunRecord run = run_of(1);
  run.result->class_names.assign(100, "one of a hundred");
  run.result->confusion.assign(10000, 0);
  run.result->confusion[3] = 12;
  const std::string page = page_of(run);
  EXPECT_THAT(page, Not(HasSubstr("Confusion matrix")));
  EXPECT_THAT(page, HasSubstr("<td>12</td><td>100.0"));
}

TEST(HtmlReport, AThousandEpochsOfManyLayersStayUnderHalfAMegabyte) {
  RunRecord run = run_of(1000);
  for (EpochRecord& epoch : run.epochs) {
    epoch.valid_loss = epoch.test_loss;
    epoch.valid_accuracy = epoch.test_accuracy;
    epoch.layer_density.clear();
    for (int layer = 0; layer < 8; ++layer) epoch.layer_density.push_back(1.0 / (epoch.epoch + layer));
  }
  run.inputs = {.height = 128, .width = 128, .channels = 3, .degree = {}};
  for (int i = 0; i < 3 * 128 * 128; ++i) run.inputs->degree.push_back(i * 7919 % 997);
  const std::string page = page_of(run);
  EXPECT_LT(page.size(), 500'000u);
  run = run_of(100'000);
  EXPECT_LT(page_of(run).size(), 500'000u);
}

}  // namespace
}  // namespace tulle

#include "tulle/report/report_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tulle/base/error.h"
#include "tulle/report/html.h"
#include "tulle/report/recovery_files.h"

namespace tulle {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

class ReadRun : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(folder_ + "/" + name).parent_path());
    std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
  }

  std::string folder_ =
      ::testing::TempDir() + "read_run_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(ReadRun, SeedsComeInTheOrderOfTheirNumbers) {
  for (const char* seed : {"10", "9"})
    write(std::string("seed-") + seed + "/metrics.jsonl",
          std::string(R"({"event":"start","seed":)") + seed + "}\n");
  write("seed-none/metrics.jsonl", "");
  write("seed-7/other", "");
  const ReportRun run = read_run(folder_ + "/");
  ASSERT_EQ(run.seeds.size(), 2u);
  EXPECT_EQ(run.seeds[0].start.seed, 9);
  EXPECT_EQ(run.seeds[1].start.seed, 10);
  EXPECT_EQ(run.name, fs::path(folder_).filename().string());
}

TEST_F(ReadRun, AFolderWithoutRecordsIsRefusedByItsName) {
  try {
    read_run(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMissingInput);
    EXPECT_THAT(error.what(), HasSubstr(folder_));
    EXPECT_THAT(error.what(), HasSubstr("found no records, expected metrics.jsonl"));
  }
}

TEST_F(ReadRun, TruncatedAndForeignRecordsLeaveWhatIsWhole) {
  write("metrics.jsonl",
        "{\"event\":\"epoch\",\"epoch\":1,\"train_loss\":0.5,\"test_acc\":null}\n"
        "{\"event\":\"epoch\",\"epoch\":\"two\"}\n[1]\n\"text\"\nnull\n"
        "{\"event\":\"epoch\",\"epo");
  const ReportRun run = read_run(folder_);
  ASSERT_EQ(run.seeds[0].epochs.size(), 1u);
  EXPECT_THAT(html_report({run}), HasSubstr("1 epoch"));
}

TEST_F(ReadRun, ARecoveryIsToldWithItsPictures) {
  write(
      "result.json",
      R"({"task":"image","method":"aiht","psnr":21.5,"nnz":600,"psnr_by_step":[10,null,21.5],"odd":{"a":1}})");
  write("original.png", "PNG");
  const ReportRun run = read_run(folder_);
  ASSERT_TRUE(run.recovery);
  const std::string page = html_report({run});
  EXPECT_THAT(page, HasSubstr("<th>PSNR</th><td>21.5 dB</td>"));
  EXPECT_THAT(page, HasSubstr("<title>PSNR by step: PSNR from 10 to 21.5 dB</title>"));
  EXPECT_THAT(page, HasSubstr("data:image/png;base64,UE5H\""));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST_F(ReadRun, AResultThatIsNoneIsNoRecovery) {
  for (const char* text : {"", "[]", "{\"psnr\":\"high\"}", "{"}) {
    write("result.json", text);
    EXPECT_FALSE(read_recovery(folder_)) << text;
  }
}

TEST_F(ReadRun, AGridIsTheMeanOverItsSeedsAndADashWhereNothingWasRun) {
  const auto cell = [](int width, int budget, double psnr) {
    return R"({"task":"planted","method":"strong","hidden_width":)" + std::to_string(width) +
           R"(,"budget":)" + std::to_string(budget) + R"(,"psnr":)" + std::to_string(psnr) + "}\n";
  };
  write("grid.jsonl",
        cell(8, 10, 20.0) + cell(8, 10, 30.0) + cell(4, 20, 5.0) + "{\"task\":\"planted\",\"meth");
  const ReportRun run = read_run(folder_);
  ASSERT_EQ(run.recovery->diagrams.size(), 1u);
  const PhaseDiagram& diagram = run.recovery->diagrams[0];
  EXPECT_THAT(diagram.rows, ::testing::ElementsAre(4, 8));
  EXPECT_THAT(diagram.columns, ::testing::ElementsAre(10, 20));
  EXPECT_EQ(diagram.values[2], std::optional(25.0));
  EXPECT_EQ(diagram.values[0], std::nullopt);
  EXPECT_THAT(phase_figure(diagram), HasSubstr(">25.0</text>"));
  EXPECT_THAT(phase_figure(diagram), HasSubstr(">\u2013</text>"));
}

TEST_F(ReadRun, OfAHugeGridTheFirstHundredWidthsAndBudgetsAreShown) {
  std::string lines;
  for (int i = 1; i <= 150; ++i)
    lines += R"({"task":"planted","method":"iht","hidden_width":)" + std::to_string(i) + R"(,"budget":)" +
             std::to_string(1000 + i) + R"(,"psnr":1.0})" + "\n";
  write("grid.jsonl", lines);
  const PhaseDiagram diagram = read_run(folder_).recovery->diagrams.at(0);
  EXPECT_EQ(diagram.rows.size(), 100u);
  EXPECT_EQ(diagram.columns.size(), 100u);
  EXPECT_THAT(phase_figure(diagram), HasSubstr("the first 100 of 150 widths, the first 100 of 150 budgets"));
}

TEST(Samples, ShowAMistakeWithWhatItIs) {
  const Picture picture{.shape = {.channels = 1, .height = 1, .width = 2}, .bytes = {0, 255}};
  const std::string html =
      sample_gallery({{.picture = picture, .actual = "<cat>", .predicted = "dog", .probability = 0.75},
                      {.picture = picture, .actual = "dog", .predicted = "dog", .probability = 1}});
  EXPECT_THAT(html, HasSubstr("<b>dog</b> 75\u202f%<small>is &lt;cat&gt;</small>"));
  EXPECT_THAT(html, HasSubstr("src=\"data:image/png;base64,iVBORw0KGgo"));
  EXPECT_THAT(html, Not(HasSubstr("is dog")));
}

TEST(Samples, MatricesHaveTheirNames) {
  const Picture picture{.shape = {.channels = 1, .height = 1, .width = 1}, .bytes = {128}};
  EXPECT_THAT(matrix_gallery({{picture, "block 1, rows"}}),
              HasSubstr("<figcaption>block 1, rows</figcaption>"));
  EXPECT_EQ(matrix_gallery({}), "");
}

TEST(Samples, BytesBecomeLettersOfAnyLength) {
  EXPECT_THAT(inline_png("a", "x"), HasSubstr("base64,YQ==\""));
  EXPECT_THAT(inline_png("ab", "x"), HasSubstr("base64,YWI=\""));
  EXPECT_THAT(inline_png("abc", "\"<"), HasSubstr("alt=\"&quot;&lt;\" src=\"data:image/png;base64,YWJj\""));
}

}  // namespace
}  // namespace tulle

#include "tulle/report/page_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

RunRecord losses_of(int epochs) {
  RunRecord run;
  for (int number = 1; number <= epochs; ++number) {
    EpochRecord epoch;
    epoch.epoch = number;
    epoch.train_loss = 1.0 / number;
    run.epochs.push_back(epoch);
  }
  return run;
}

Json data_of(const std::vector<ReportRun>& runs) {
  const std::string element = page_data(runs);
  const std::size_t begin = element.find('>') + 1;
  return Json::parse(element.substr(begin, element.rfind("</script>") - begin));
}

TEST(PageData, EpochsAreColumnsOfSixDigits) {
  RunRecord run = losses_of(3);
  run.epochs[1].test_accuracy = 0.123456789;
  run.epochs[2].train_loss = std::nan("");
  const Json epochs = data_of({{.name = "a", .seeds = {run}}})["runs"][0]["seeds"][0]["epochs"];
  EXPECT_THAT(epochs["epoch"], ElementsAre(1, 2, 3));
  EXPECT_THAT(epochs["test_acc"], ElementsAre(nullptr, 0.123457, nullptr));
  EXPECT_THAT(epochs["train_loss"], ElementsAre(1.0, 0.5, nullptr));
  EXPECT_FALSE(epochs.contains("valid_acc"));
}

TEST(PageData, LongRunsAreThinnedEvenlyAndKeepTheirLastEpoch) {
  const auto epochs_of = [](const Json& data, std::size_t run) {
    return data["runs"][run]["seeds"][0]["epochs"]["epoch"].get<std::vector<int>>();
  };
  EXPECT_EQ(epochs_of(data_of({{.seeds = {losses_of(1000)}}}), 0).size(), 1000u);
  const std::vector<int> alone = epochs_of(data_of({{.seeds = {losses_of(4000)}}}), 0);
  EXPECT_EQ(alone.size(), 1000u);
  EXPECT_EQ(alone[0], 4);
  EXPECT_EQ(alone.back(), 4000);
  const Json both = data_of({{.seeds = {losses_of(4000)}}, {.seeds = {losses_of(9)}}});
  EXPECT_EQ(epochs_of(both, 0).size(), 500u);
  EXPECT_EQ(epochs_of(both, 1).size(), 9u);
}

TEST(PageData, NoNameEndsTheElementOrIsMarkup) {
  const std::string evil = "</script><img src=x onerror='a'>\"&\x01<!--";
  RunRecord run = losses_of(1);
  run.start.command = evil;
  const std::string element = page_data({{.name = evil, .seeds = {run}}});
  EXPECT_EQ(element.find("</script"), element.size() - std::string("</script>\n").size());
  for (const char* text : {"<img", "<!--", "'a'", "&", "\x01"}) EXPECT_THAT(element, Not(HasSubstr(text)));
  EXPECT_EQ(data_of({{.name = evil, .seeds = {run}}})["runs"][0]["name"], evil);
}

TEST(PageData, ManyClassesAndLongRecoveriesLeaveItSmall) {
  RunRecord run = losses_of(1);
  run.result = ResultRecord{.class_names = std::vector<std::string>(100, "c"),
                            .confusion = std::vector<std::int64_t>(10'000, 1)};
  RecoveryRecord recovery{.figures = {{"PSNR", "30 dB"}}, .psnr = std::vector<double>(50'000, 30.0)};
  const Json data = data_of({{.seeds = {run}, .recovery = recovery}})["runs"][0];
  EXPECT_FALSE(data["seeds"][0].contains("confusion"));
  EXPECT_EQ(data["recovery"]["psnr"].size(), 1000u);
  EXPECT_EQ(data["recovery"]["figures"]["PSNR"], "30 dB");
}

}  // namespace
}  // namespace tulle

// What every format promises.
#include "tulle/export/formats.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tulle/base/allocations_testing.h"
#include "tulle/checkpoint/model_testing.h"

namespace tulle::testing {
namespace {

class EveryFormat : public ::testing::TestWithParam<ExportFormat> {
 protected:
  std::string file(const std::string& name) const { return folder_ / name; }

 private:
  TemporaryDirectory folder_;
};

TEST_P(EveryFormat, WritesAWholeFileAndTellsItsSize) {
  Model model = small_model();
  const Exported written = GetParam().write(file("a"), model, {});
  EXPECT_GT(written.bytes, 0);
  EXPECT_EQ(written.bytes, static_cast<std::int64_t>(std::filesystem::file_size(file("a"))));
}

TEST_P(EveryFormat, WritesTheSameBytesForTheSameModel) {
  Model model = small_model();
  GetParam().write(file("a"), model, {});
  GetParam().write(file("b"), model, {});
  EXPECT_EQ(read_text(file("a")), read_text(file("b")));
}

TEST_P(EveryFormat, LeavesTheOldFileWhereTheNewOneCannotBe) {
  Model model = small_model();
  std::filesystem::create_directory(file("folder"));
  EXPECT_NE(refusal([&] { GetParam().write(file("folder"), model, {}); }, ErrorKind::kCannotWrite), "");
  EXPECT_NE(refusal([&] { GetParam().write(file("none/a"), model, {}); }, ErrorKind::kCannotWrite), "");
  EXPECT_TRUE(std::filesystem::is_directory(file("folder")));
}

// 4e10 cells, of which 400,000 are connections.
TEST_P(EveryFormat, TakesMemoryOfItsConnectionsAlone) {
  constexpr std::int32_t kNeurons = 200'000;
  RawVector<std::int64_t> row_ptr{0};
  RawVector<std::int32_t> columns;
  for (std::int32_t r = 0; r < kNeurons; ++r) {
    columns.push_back(r / 2);
    columns.push_back(kNeurons / 2 + r / 2);
    row_ptr.push_back(2 * (std::int64_t{r} + 1));
  }
  const std::size_t connections = columns.size();
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<SparseLinear>(
      LayerOptions{.inputs = kNeurons, .outputs = kNeurons, .activation = "relu"},
      Topology(kNeurons, kNeurons, std::move(row_ptr), std::move(columns))));
  Model model{.network = Network(std::move(layers)), .loss = "mse"};
  const std::size_t before = g_live_bytes;
  g_peak_bytes = before;
  const Exported written = GetParam().write(file("a"), model, {});
  EXPECT_LT(g_peak_bytes - before, 120 * connections);
  EXPECT_LT(static_cast<std::size_t>(written.bytes), 50 * connections);
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat,
                         ::testing::ValuesIn(export_formats().begin(), export_formats().end()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace tulle::testing

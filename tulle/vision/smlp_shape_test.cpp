#include "tulle/vision/smlp_shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"

namespace tulle {
namespace {

using ::testing::HasSubstr;

struct Row {
  std::string_view name;
  std::int64_t parameters, multiplications;
};

// Counted from the formulas of the paper and the published code.
constexpr Row kRows[] = {
    {"smlpnet_t", 24'123'584, 4'989'451'520},  {"smlpnet_s", 48'558'136, 10'312'161'792},
    {"smlpnet_b", 65'880'408, 13'986'515'200}, {"smlp28_p2", 411'570, 31'780'000},
    {"smlp28_p2_narrow", 105'970, 8'260'000},  {"smlp28pad_p4", 1'733'650, 15'570'000},
    {"smlp28pad_p2", 1'733'946, 62'780'000},   {"smlp28pad_p2_narrow", 439'674, 16'180'000},
    {"smlp32_p4", 1'735'698, 15'700'000},      {"smlp32_p2", 1'734'458, 62'910'000},
    {"smlp64_p4", 1'736'762, 63'500'000},      {"smlp64_p4_deep", 2'036'826, 82'780'000},
};

TEST(SmlpShape, CountsParametersAndMultiplicationsOfEveryVariant) {
  ASSERT_EQ(std::size(kRows), smlp_variants().size());
  for (const Row& row : kRows) {
    const SmlpShape& shape = find_name(smlp_variants(), "variant", std::string(row.name)).shape;
    EXPECT_EQ(parameters_of(shape).total(), row.parameters) << row.name;
    // Those of the small ones are known to four digits.
    EXPECT_NEAR(static_cast<double>(multiplications_of(shape).total()),
                static_cast<double>(row.multiplications), row.multiplications > 1'000'000'000 ? 0.0 : 5001.0)
        << row.name;
  }
}

SmlpShape patches_of_4(int channels, int height, int width, std::vector<int> depths, std::int32_t classes) {
  return {.channels = channels,
          .height = height,
          .width = width,
          .embedding = 16,
          .depths = std::move(depths),
          .classes = classes};
}

TEST(SmlpShape, CountsShapesThatAreNotSquareOrOdd) {
  SmlpShape wide = find_name(smlp_variants(), "variant", "smlpnet_t").shape;
  wide.height = 256, wide.width = 192;
  EXPECT_EQ(parameters_of(wide).total(), 24'124'212);
  EXPECT_EQ(multiplications_of(wide).total(), 4'887'639'040);
  EXPECT_EQ(wide.stage_height(3), 8);
  EXPECT_EQ(wide.stage_width(3), 6);
  const SmlpShape odd = patches_of_4(1, 28, 28, {1, 1}, 10);
  EXPECT_EQ(odd.stage_height(1), 3);
  EXPECT_EQ(parameters_of(odd).total(), 15'266);
  EXPECT_EQ(multiplications_of(odd).total(), 249'488);
  EXPECT_EQ(parameters_of(patches_of_4(1, 32, 32, {1, 1}, 10)).total(), 15'314);
  EXPECT_EQ(multiplications_of(patches_of_4(1, 32, 32, {1, 1}, 10)).total(), 378'688);
  EXPECT_EQ(parameters_of(patches_of_4(3, 32, 48, {1, 2, 1}, 7)).total(), 72'297);
  EXPECT_EQ(multiplications_of(patches_of_4(3, 32, 48, {1, 2, 1}, 7)).total(), 1'136'320);
}

TEST(SmlpShape, CountsThePartsOfTiny) {
  const SmlpCounts parts = parameters_of(find_name(smlp_variants(), "variant", "smlpnet_t").shape);
  EXPECT_EQ(parts.channel_mix, 14'851'200);
  EXPECT_EQ(parts.fuse, 7'411'200);
  EXPECT_EQ(parts.embedding, 1'079'040);
  EXPECT_EQ(parts.head, 641'000);
  EXPECT_EQ(parts.depthwise, 64'800);
  EXPECT_EQ(parts.norms, 44'480);
  EXPECT_EQ(parts.row_and_column_mix, 31'864);
}

TEST(SmlpShape, StochasticDepthRisesFromNothingToTheLastBlock) {
  const SmlpShape shape{.depths = {1, 3, 1}, .drop_path = 0.2};
  EXPECT_EQ(shape.drop_path_of(0), 0.0);
  EXPECT_DOUBLE_EQ(shape.drop_path_of(2), 0.1);
  EXPECT_DOUBLE_EQ(shape.drop_path_of(4), 0.2);
  EXPECT_EQ((SmlpShape{.depths = {1}, .drop_path = 0.2}).drop_path_of(0), 0.0);
}

struct Bad {
  SmlpShape shape;
  const char* complaint;
};

TEST(SmlpShape, RefusesWhatCannotBe) {
  const Bad bad[] = {
      {{.height = 226},
       "image height, found 226, expected a multiple of model.patch = 4, such as 224 or 228"},
      {{.width = 3}, "image width, found 3"},
      {{.height = 16}, "leave no tokens for stage 3"},
      {{.patch = 0}, "model.patch, found 0"},
      {{.embedding = 0}, "model.width, found 0"},
      {{.depths = {}}, "model.depths, found 0 stages"},
      {{.depths = {0, 0}}, "model.depths, found no blocks"},
      {{.depths = {-1}}, "model.depths, found -1"},
      {{.expansion = 0}, "model.expansion, found 0"},
      {{.drop_path = 1.0}, "model.drop_path, found 1"},
      {{.drop_path = std::numeric_limits<double>::quiet_NaN()}, "model.drop_path, found nan"},
  };
  for (const Bad& b : bad) {
    try {
      check_shape(b.shape);
      ADD_FAILURE() << "not refused: " << b.complaint;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_THAT(error.what(), HasSubstr(b.complaint));
    }
  }
}

}  // namespace
}  // namespace tulle

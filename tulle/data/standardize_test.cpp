#include "tulle/data/standardize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tulle/base/parallel.h"
#include "tulle/data/data_testing.h"

namespace tulle::testing {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Features floats(std::int64_t samples, AlignedVector<float> values) {
  Features features;
  features.samples = samples;
  features.features = static_cast<std::int32_t>(values.size()) / static_cast<std::int32_t>(samples);
  features.floats = std::move(values);
  return features;
}

TEST(FitScaling, NoneAndUnitDoNotLookAtTheData) {
  EXPECT_THAT(fit_scaling("none", floats(1, {1, 2})).mean, IsEmpty());
  const Scaling unit = fit_scaling("unit", floats(1, {1, 2}));
  EXPECT_THAT(unit.mean, ElementsAre(0, 0));
  EXPECT_THAT(unit.deviation, ElementsAre(255, 255));
}

TEST(FitScaling, StandardIsMeanAndPopulationDeviationOfEachFeature) {
  const Scaling scaling = fit_scaling("standard", floats(4, {1, 10, 1, 20, 3, 10, 3, 20}));
  EXPECT_EQ(scaling.kind, "standard");
  EXPECT_THAT(scaling.mean, ElementsAre(2, 15));
  EXPECT_THAT(scaling.deviation, ElementsAre(1, 5));  // divided by n, not n - 1
}

TEST(FitScaling, CenterTakesTheMeanOfEachFeatureAndOneDeviationForAll) {
  // Deviations 1, 7 and, of the feature that does not vary, 0: in all sqrt(50 / 3).
  const Scaling scaling = fit_scaling("center", floats(2, {1, 10, 5, 3, 24, 5}));
  EXPECT_EQ(scaling.kind, "center");
  EXPECT_THAT(scaling.mean, ElementsAre(2, 17, 5));
  const float all = std::sqrt(50.0f / 3.0f);
  EXPECT_THAT(scaling.deviation, ElementsAre(FloatEq(all), FloatEq(all), 0));
}

TEST(FitScaling, BytesGiveWhatFloatsGive) {
  Features bytes = floats(2, {0, 255, 4, 1});
  bytes.bytes = {0, 255, 4, 1};
  for (const std::string kind : {"standard", "minmax"}) {
    const Scaling of_floats = fit_scaling(kind, bytes);
    Features only_bytes = bytes;
    only_bytes.floats.clear();
    EXPECT_EQ(fit_scaling(kind, only_bytes).deviation, of_floats.deviation) << kind;
    EXPECT_EQ(fit_scaling(kind, only_bytes).mean, of_floats.mean) << kind;
  }
}

TEST(FitScaling, MinmaxIsTheRangeOfEachFeature) {
  const Scaling scaling = fit_scaling("minmax", floats(3, {1, -5, 2, 5, 4, 0}));
  EXPECT_THAT(scaling.mean, ElementsAre(1, -5));
  EXPECT_THAT(scaling.deviation, ElementsAre(3, 10));
}

TEST(FitScaling, AFeatureThatDoesNotVaryHasDeviationZeroWhateverItsValue) {
  for (const std::string kind : {"standard", "minmax"})
    for (const float value : {0.1f, 1e30f, -3.3333333f, 1e-42f}) {
      const AlignedVector<float> values(999, value);
      EXPECT_THAT(fit_scaling(kind, floats(333, values)).deviation, Each(0.0f)) << kind << " " << value;
    }
}

TEST(FitScaling, ASparseFeatureThatDoesNotVaryHasDeviationZeroToo) {
  Features sparse{.samples = 1000, .features = 2, .bytes = {}, .floats = {}, .sparse = {}};
  sparse.sparse.row_ptr = {0};
  for (int i = 0; i < 1000; ++i) {
    sparse.sparse.columns.push_back(0);
    sparse.sparse.values.push_back(0.1f);
    if (i % 4 == 0) sparse.sparse.columns.push_back(1), sparse.sparse.values.push_back(4.0f);
    sparse.sparse.row_ptr.push_back(static_cast<std::int64_t>(sparse.sparse.columns.size()));
  }
  EXPECT_THAT(fit_scaling("standard", sparse).deviation, ElementsAre(0, FloatEq(std::sqrt(3.0f))));
}

TEST(FitScaling, OneSampleGivesDeviationZeroAndItsOwnMean) {
  const Scaling scaling = fit_scaling("standard", floats(1, {7, -2}));
  EXPECT_THAT(scaling.mean, ElementsAre(7, -2));
  EXPECT_THAT(scaling.deviation, ElementsAre(0, 0));
}

TEST(FitScaling, ADeviationWhoseInverseIsNotFiniteIsZero) {
  EXPECT_THAT(fit_scaling("standard", floats(2, {1.2e-38f, 1.3e-38f})).deviation, ElementsAre(0));
}

TEST(FitScaling, SmallDeviationsOfLargeValuesAreNotLost) {
  EXPECT_THAT(fit_scaling("standard", floats(2, {16777216, 16777218})).deviation, ElementsAre(1));
}

TEST(FitScaling, TheBitsDoNotDependOnTheThreads) {
  AlignedVector<float> values;
  for (int i = 0; i < 300 * 200; ++i) values.push_back(static_cast<float>(i * 7919 % 10007) * 0.01f);
  set_thread_count(1);
  const Scaling one = fit_scaling("standard", floats(200, values));
  for (const int threads : {2, 3, 8}) {
    set_thread_count(threads);
    EXPECT_EQ(fit_scaling("standard", floats(200, values)).deviation, one.deviation) << threads;
  }
  set_thread_count(0);
}

TEST(FitScaling, AnUnknownKindIsAConfigError) {
  EXPECT_THAT(refusal([] { fit_scaling("zscore", floats(1, {1})); }, ErrorKind::kConfig),
              HasSubstr("data.scale"));
  EXPECT_THROW(fit_scaling("standard", Features{}), std::invalid_argument);
}

}  // namespace
}  // namespace tulle::testing

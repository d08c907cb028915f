#include "tulle/data/synthetic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <set>

#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
#include "tulle/data/load.h"
#include "tulle/data/loader.h"
#include "tulle/data/rows.h"
#include "tulle/data/standardize.h"
#include "tulle/sparse/test_statistics.h"

namespace tulle {
namespace {

SyntheticOptions small() {
  return {
      .features = 300, .informative = 8, .redundant = 6, .clusters = 2, .samples = 200, .test_samples = 40};
}

std::vector<float> row_of(const SyntheticTask& task, std::uint32_t sample, std::size_t features) {
  std::vector<float> row(features);
  task.row(sample, row);
  return row;
}

TEST(SyntheticTask, ASampleIsTheSameInEveryBatchOrderAndThread) {
  const Dataset data = synthetic_dataset(small());
  const SyntheticTask task(small());
  for (const int threads : {1, 3})
    for (const int size : {1, 7, 64}) {
      set_thread_count(threads);
      Loader loader(data.train, data.scaling, size, true, 5);
      loader.start_epoch(1, /*shuffled=*/true);
      std::multiset<std::vector<float>> found, expected;
      for (std::int64_t b = 0; b < loader.batches(); ++b) {
        const Batch batch = loader.get(b, 16);
        for (std::int32_t s = 0; s < batch.inputs.batch; ++s) {
          std::vector<float> row;
          for (std::int32_t f = 0; f < 300; ++f) row.push_back(batch.inputs.at(s, f));
          row.push_back(static_cast<float>(batch.classes[static_cast<std::size_t>(s)]));
          found.insert(row);
        }
      }
      for (std::uint32_t sample = 0; sample < 200; ++sample) {
        std::vector<float> row = row_of(task, sample, 300);
        row.push_back(static_cast<float>(task.label(sample)));
        expected.insert(row);
      }
      EXPECT_EQ(found, expected) << threads << " threads, batches of " << size;
    }
  set_thread_count(0);
}

TEST(SyntheticTask, TrainAndTestShareNoSample) {
  const Dataset data = synthetic_dataset(small());
  const auto& train = data.train.inputs.generated.samples;
  std::set<std::uint32_t> all(train.begin(), train.end());
  for (const std::uint32_t sample : data.test.inputs.generated.samples)
    EXPECT_TRUE(all.insert(sample).second);
  EXPECT_EQ(all.size(), 240u);
}

TEST(SyntheticTask, IsTheSameOnEveryMachine) {
  const SyntheticTask task({.features = 1000, .informative = 16, .redundant = 16});
  std::uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (std::uint32_t sample = 0; sample < 64; ++sample)
    for (const float value : row_of(task, sample, 1000))
      hash = (hash ^ std::bit_cast<std::uint32_t>(value)) * 0x100000001b3ull;
  EXPECT_EQ(hash, 12658493296552465341ull);
}

TEST(SyntheticTask, FeaturesThatTellNothingAreStandardNormal) {
  const SyntheticOptions options{.features = 40000, .informative = 1, .redundant = 0, .clusters = 1};
  std::vector<float> row = row_of(SyntheticTask(options), 3, 40000);
  EXPECT_TRUE(follows_law(row, [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }));
  double square = 0.0, neighbours = 0.0;
  for (std::size_t i = 1; i < row.size(); ++i) square += row[i] * row[i], neighbours += row[i] * row[i - 1];
  EXPECT_NEAR(square / 40000, 1.0, 0.03);
  EXPECT_NEAR(neighbours / 40000, 0.0, 0.02);
}

TEST(SyntheticTask, LabelsAreEvenAndAFewAreDrawnAnew) {
  SyntheticOptions options = small();
  options.classes = 4;
  options.flip = 0.2;
  const SyntheticTask task(options);
  std::vector<int> counts(4, 0);
  int moved = 0;
  for (std::uint32_t sample = 0; sample < 4000; ++sample) {
    ++counts[static_cast<std::size_t>(task.label(sample))];
    moved += task.label(sample) != static_cast<std::int32_t>(sample % 4);
  }
  for (const int count : counts) EXPECT_NEAR(count, 1000, 100);
  EXPECT_NEAR(moved, 0.2 * 4000 * 3 / 4, 80);
}

// Logistic regression by plain gradient descent.
TEST(SyntheticTask, ALinearModelBeatsChanceOnUnseenSamples) {
  SyntheticOptions options = small();
  options.features = 20;
  options.clusters = 1;
  options.samples = 2000;
  options.test_samples = 1000;
  Dataset data = synthetic_dataset(options);
  const Scaling scaling = fit_scaling("standard", data.train.inputs);
  std::vector<double> weights(21, 0.0);
  const auto margin = [&](const Split& split, std::size_t i, std::vector<float>& row) {
    split.inputs.generated.source->row(split.inputs.generated.samples[i], row);
    double z = weights[20];
    for (std::size_t f = 0; f < 20; ++f) {
      row[f] = (row[f] - scaling.mean[f]) / scaling.deviation[f];
      z += weights[f] * row[f];
    }
    return z;
  };
  std::vector<float> row(20);
  for (int epoch = 0; epoch < 5; ++epoch)
    for (std::size_t i = 0; i < 2000; ++i) {
      const double error = data.train.classes[i] - 1.0 / (1.0 + std::exp(-margin(data.train, i, row)));
      for (std::size_t f = 0; f < 20; ++f) weights[f] += 0.02 * error * row[f];
      weights[20] += 0.02 * error;
    }
  int right = 0;
  for (std::size_t i = 0; i < 1000; ++i)
    right += (margin(data.test, i, row) > 0) == (data.test.classes[i] == 1);
  EXPECT_GT(right, 650);
}

TEST(SyntheticTask, StandardizesByTrainingSamplesAlone) {
  const Dataset data = synthetic_dataset(small());
  const Scaling scaling = fit_scaling("standard", data.train.inputs);
  Features stored{.samples = 200, .features = 300, .bytes = {}, .floats = {}};
  for (std::uint32_t sample = 0; sample < 200; ++sample) {
    const std::vector<float> row = row_of(SyntheticTask(small()), sample, 300);
    stored.floats.insert(stored.floats.end(), row.begin(), row.end());
  }
  const Scaling expected = fit_scaling("standard", stored);
  EXPECT_EQ(scaling.mean, expected.mean);
  EXPECT_EQ(scaling.deviation, expected.deviation);
}

TEST(SyntheticTask, RowsCanBeTakenOut) {
  const Dataset data = synthetic_dataset(small());
  const std::vector<std::uint32_t> rows{3, 7, 199};
  const Split taken = take_rows(data.train, rows);
  EXPECT_EQ(taken.inputs.generated.samples, rows);
  EXPECT_EQ(taken.inputs.generated.source, data.train.inputs.generated.source);
}

TEST(SyntheticTask, RefusesWhatCannotBe) {
  SyntheticOptions few = small(), many = small(), large = small(), redundant = small();
  few.features = 13;
  many.informative = 2;
  many.clusters = 3;
  large.features = large.informative = 2000000000;  // more bytes than 64 bits count
  redundant.features = 2000000000;
  redundant.informative = 40000, redundant.redundant = 1000000;
  for (const SyntheticOptions& options : {few, many, large, redundant}) {
    try {
      (void)synthetic_dataset(options);
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    }
  }
  EXPECT_THROW((void)fit_scaling("minmax", synthetic_dataset(small()).train.inputs), Error);
  EXPECT_THROW((void)load_dataset({.format = "synthetic", .train = "x.csv"}), Error);
}

}  // namespace
}  // namespace tulle

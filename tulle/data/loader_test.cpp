#include "tulle/data/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tulle/base/parallel.h"

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Sample i has class i and the inputs i, i + 1, ...
Split bytes(std::int64_t samples, std::int32_t features) {
  Split split;
  split.inputs.samples = samples;
  split.inputs.features = features;
  for (std::int64_t i = 0; i < samples; ++i) {
    split.classes.push_back(static_cast<std::int32_t>(i));
    for (std::int32_t f = 0; f < features; ++f)
      split.inputs.bytes.push_back(static_cast<std::uint8_t>(i + f));
  }
  return split;
}

std::vector<float> copy(Panels<const float> panels) {
  return {panels.data, panels.data + panels.count() * panels.panel_size()};
}

TEST(Loader, BringsSamplesScaledIntoPanelsWithZerosBehind) {
  const Split split = bytes(20, 2);
  Loader loader(split, {.kind = "standard", .mean = {1, 0}, .deviation = {2, 0.5f}}, 20, true, 1);
  const Batch batch = loader.get(0, 16);
  EXPECT_EQ(batch.inputs.batch, 20);
  EXPECT_EQ(batch.inputs.count(), 2);
  EXPECT_EQ(batch.inputs.at(3, 0), 1.0f);
  EXPECT_EQ(batch.inputs.at(3, 1), 8.0f);
  EXPECT_EQ(batch.inputs.at(19, 0), 9.0f);
  for (std::int32_t lane = 4; lane < 16; ++lane) EXPECT_EQ(batch.inputs.panel(1)[lane], 0.0f);
  EXPECT_EQ(batch.classes[19], 19);
  EXPECT_THAT(batch.targets, IsEmpty());
}

TEST(Loader, FloatsTargetsAndWeightsAreDealtOutTheSameWay) {
  Split split;
  split.inputs.samples = 3;
  split.inputs.features = 1;
  split.inputs.floats = {0.5f, 1.5f, 2.5f};
  split.targets = {10, 20, 30};
  split.weights = {1, 2, 3};
  Loader loader(split, {}, 2, true, 1);
  const Batch batch = loader.get(1, 16);
  EXPECT_EQ(batch.inputs.batch, 1);
  EXPECT_EQ(batch.inputs.at(0, 0), 2.5f);
  EXPECT_THAT(batch.targets, ElementsAre(30));
  EXPECT_THAT(batch.weights, ElementsAre(3));
  EXPECT_THAT(batch.classes, IsEmpty());
  EXPECT_EQ(batch.first_position, 0);
}

TEST(Loader, AFeatureWithDeviationZeroIsZeroEvenIfItVariesHere) {
  const Split split = bytes(3, 1);
  Loader loader(split, {.kind = "standard", .mean = {1}, .deviation = {0}}, 3, true, 1);
  const Batch batch = loader.get(0, 16);
  for (std::int32_t b = 0; b < 3; ++b) EXPECT_EQ(batch.inputs.at(b, 0), 0.0f);
}

TEST(Loader, AnIncompleteLastBatchIsKeptOrDropped) {
  const Split split = bytes(10, 1);
  EXPECT_EQ(Loader(split, {}, 4, true, 1).batches(), 3);
  EXPECT_EQ(Loader(split, {}, 4, false, 1).batches(), 2);
  EXPECT_EQ(Loader(split, {}, 5, true, 1).batches(), 2);
  EXPECT_EQ(Loader(split, {}, 5, false, 1).batches(), 2);
  EXPECT_EQ(Loader(split, {}, 11, true, 1).batches(), 1);
  Loader loader(split, {}, 4, true, 1);
  EXPECT_EQ(loader.get(2, 16).inputs.batch, 2);
  EXPECT_EQ(loader.get(2, 16).classes.size(), 2u);
}

TEST(Loader, EveryEpochHasEverySampleOnceInItsOwnOrder) {
  const Split split = bytes(10, 1);
  const auto order = [&](std::uint64_t seed, int epoch, bool shuffled) {
    Loader loader(split, {}, 4, true, seed);
    loader.start_epoch(epoch, shuffled);
    std::vector<std::int32_t> seen;
    for (std::int64_t b = 0; b < loader.batches(); ++b) {
      const Batch batch = loader.get(b, 16);
      for (std::int32_t i = 0; i < batch.inputs.batch; ++i)  // inputs and labels stay together
        EXPECT_EQ(batch.inputs.at(i, 0), static_cast<float>(batch.classes[static_cast<std::size_t>(i)]));
      seen.insert(seen.end(), batch.classes.begin(), batch.classes.end());
    }
    return seen;
  };
  const std::vector<std::int32_t> in_order = order(1, 0, false), first = order(1, 1, true);
  EXPECT_TRUE(std::is_sorted(in_order.begin(), in_order.end()));
  EXPECT_TRUE(std::is_permutation(first.begin(), first.end(), in_order.begin(), in_order.end()));
  EXPECT_NE(first, in_order);
  EXPECT_EQ(first, order(1, 1, true));
  EXPECT_NE(first, order(1, 2, true));
  EXPECT_NE(first, order(2, 1, true));
}

TEST(Loader, ABatchInMidEpochIsTheSameWithoutTheOnesBefore) {
  const Split split = bytes(50, 3);
  Loader all(split, {}, 8, true, 1), resumed(split, {}, 8, true, 1);
  all.start_epoch(7, true);
  resumed.start_epoch(7, true);
  for (std::int64_t b = 0; b < 4; ++b) all.get(b, 16);
  EXPECT_EQ(copy(all.get(4, 16).inputs), copy(resumed.get(4, 16).inputs));
}

TEST(Loader, PaddingIsZeroAfterALargerBatchToo) {
  const Split split = bytes(20, 5);
  Loader loader(split, {}, 16, true, 1);
  loader.get(0, 16);
  const Batch last = loader.get(1, 16);
  for (std::int32_t f = 0; f < 5; ++f)
    for (std::int32_t lane = 4; lane < 16; ++lane) EXPECT_EQ(last.inputs.panel(0)[f * 16 + lane], 0.0f);
}

TEST(Loader, TheBitsDoNotDependOnTheThreads) {
  const Split split = bytes(100, 333);
  Scaling scaling{.kind = "standard", .mean = {}, .deviation = {}};
  for (int f = 0; f < 333; ++f) {
    scaling.mean.push_back(static_cast<float>(f) * 0.1f);
    scaling.deviation.push_back(3.0f + static_cast<float>(f % 7));
  }
  const auto batch_on = [&](int threads) {
    set_thread_count(threads);
    Loader loader(split, scaling, 100, true, 1);
    loader.start_epoch(1, true);
    return copy(loader.get(0, 32).inputs);
  };
  const std::vector<float> one = batch_on(1);
  for (const int threads : {2, 3, 8, 64}) EXPECT_EQ(batch_on(threads), one) << threads;
  set_thread_count(0);
}

TEST(Loader, RefusesWhatCannotBe) {
  const Split split = bytes(3, 2);
  EXPECT_THROW(Loader(split, {}, 4, false, 1), std::invalid_argument);
  EXPECT_THROW(Loader(split, {}, 0, true, 1), std::invalid_argument);
  EXPECT_THROW(Loader(Split{}, {}, 1, true, 1), std::invalid_argument);
  EXPECT_THROW(Loader(split, {.kind = "unit", .mean = {0}, .deviation = {1}}, 1, true, 1),
               std::invalid_argument);
  EXPECT_THROW(Loader(split, {.kind = "unit", .mean = {0, 0}, .deviation = {}}, 1, true, 1),
               std::invalid_argument);
  Loader loader(split, {}, 2, true, 1);
  EXPECT_THROW(loader.get(-1, 16), std::invalid_argument);
  EXPECT_THROW(loader.get(2, 16), std::invalid_argument);
  EXPECT_THROW(loader.get(0, 24), std::invalid_argument);
}

TEST(SparseLoader, DealsOutTheSameSamplesSparseAndInPanels) {
  Split split;
  split.inputs = {
      .samples = 5,
      .features = 4,
      .bytes = {},
      .floats = {},
      .sparse = {
          .row_ptr = {0, 2, 2, 3, 6, 7}, .columns = {0, 3, 1, 0, 1, 2, 3}, .values = {1, 2, 3, 4, 5, 6, 7}}};
  split.classes = {0, 1, 0, 1, 1};
  const Scaling scaling{.kind = "maxabs", .mean = {0, 0, 0, 0}, .deviation = {2, 4, 0, 1}};
  Loader loader(split, scaling, 3, true, 1);
  for (const int epoch : {0, 1}) {
    loader.start_epoch(epoch, epoch == 1);
    for (std::int64_t b = 0; b < loader.batches(); ++b) {
      std::vector<float> dense;
      const Batch panels = loader.get(b, 16);
      for (std::int32_t s = 0; s < panels.inputs.batch; ++s)
        for (std::int32_t f = 0; f < 4; ++f) dense.push_back(panels.inputs.at(s, f));
      const std::vector<std::int32_t> classes(panels.classes.begin(), panels.classes.end());
      const Batch batch = loader.get_sparse(b, 16);
      EXPECT_EQ((std::vector<std::int32_t>(batch.classes.begin(), batch.classes.end())), classes);
      const SparseBatch& sparse = *batch.sparse;
      ASSERT_EQ(sparse.batch, batch.inputs.batch);
      std::vector<float> by_sample(dense.size(), 0.0f), by_feature(dense.size(), 0.0f);
      for (std::int32_t s = 0; s < sparse.batch; ++s)
        for (auto k = static_cast<std::size_t>(sparse.sample_ptr[static_cast<std::size_t>(s)]);
             k < static_cast<std::size_t>(sparse.sample_ptr[static_cast<std::size_t>(s) + 1]); ++k)
          by_sample[static_cast<std::size_t>(
              4 * s + sparse.active[static_cast<std::size_t>(sparse.places[k])])] = sparse.values[k];
      for (std::size_t i = 0; i < sparse.active.size(); ++i)
        for (auto k = static_cast<std::size_t>(sparse.active_ptr[i]);
             k < static_cast<std::size_t>(sparse.active_ptr[i + 1]); ++k)
          by_feature[static_cast<std::size_t>(4 * sparse.samples[k] + sparse.active[i])] =
              sparse.sample_values[k];
      EXPECT_EQ(by_sample, dense);
      EXPECT_EQ(by_feature, dense);
    }
  }
}

TEST(Loader, ShardsArePartsOfTheSplitThatDifferByAtMostOneSample) {
  Split split;
  split.inputs = {.samples = 23, .features = 1, .bytes = {}, .floats = {}};
  for (int i = 0; i < 23; ++i) {
    split.inputs.floats.push_back(static_cast<float>(i));
    split.targets.push_back(static_cast<float>(i));
  }
  for (const Shard::Cut cut : {Shard::Cut::kShuffled, Shard::Cut::kContiguous}) {
    std::vector<float> all;
    for (int worker = 0; worker < 4; ++worker) {
      Loader loader(split, {}, 4, true, 7, {.worker = worker, .workers = 4, .cut = cut});
      EXPECT_TRUE(loader.samples() == 5 || loader.samples() == 6);
      loader.start_epoch(0, false);
      std::vector<float> own;
      for (std::int64_t b = 0; b < loader.batches(); ++b) {
        const Batch batch = loader.get(b, 16);
        own.insert(own.end(), batch.targets.begin(), batch.targets.end());
        for (std::int32_t s = 0; s < batch.inputs.batch; ++s)
          EXPECT_EQ(batch.inputs.at(s, 0), batch.targets[static_cast<std::size_t>(s)]);
      }
      EXPECT_TRUE(std::ranges::is_sorted(own));
      EXPECT_EQ(own.back() - own.front() == static_cast<float>(loader.samples() - 1),
                cut == Shard::Cut::kContiguous);
      loader.start_epoch(1, true);
      std::vector<float> shuffled;
      for (std::int64_t b = 0; b < loader.batches(); ++b) {
        const Batch batch = loader.get(b, 16);
        shuffled.insert(shuffled.end(), batch.targets.begin(), batch.targets.end());
      }
      EXPECT_NE(shuffled, own);
      EXPECT_THAT(shuffled, ::testing::UnorderedElementsAreArray(own));
      all.insert(all.end(), own.begin(), own.end());
    }
    EXPECT_EQ(std::ranges::is_sorted(all), cut == Shard::Cut::kContiguous);
    std::ranges::sort(all);
    EXPECT_EQ(all, split.targets);
  }
}

TEST(Loader, OneShardOfOneIsTheSplitInTheSameOrder) {
  const Split split = bytes(40, 3);
  Loader whole(split, {}, 16, true, 5), shard(split, {}, 16, true, 5, {.worker = 0, .workers = 1});
  whole.start_epoch(3, true);
  shard.start_epoch(3, true);
  const Batch a = whole.get(1, 16), b = shard.get(1, 16);
  for (std::int32_t s = 0; s < 16; ++s)
    for (std::int32_t f = 0; f < 3; ++f) EXPECT_EQ(a.inputs.at(s, f), b.inputs.at(s, f));
}

TEST(Loader, PartsOfABatchAreTheBatchAndBeginAtMultiplesOfSixteen) {
  const Split split = bytes(100, 3);
  Loader loader(split, {}, 70, true, 5), parts(split, {}, 70, true, 5);
  loader.start_epoch(1, true);
  parts.start_epoch(1, true);
  for (std::int64_t b = 0; b < 2; ++b)
    for (const int count : {1, 2, 3, 8}) {
      const Batch whole = loader.get(b, 16);
      EXPECT_EQ(whole.inputs.batch, loader.samples_of(b));
      std::int32_t seen = 0;
      for (int part = 0; part < count; ++part) {
        const Batch piece = parts.get(b, 16, {part, count});
        EXPECT_EQ(piece.first_position, seen);
        EXPECT_EQ(seen % 16 == 0 || piece.inputs.batch == 0, true);
        for (std::int32_t s = 0; s < piece.inputs.batch; ++s, ++seen)
          for (std::int32_t f = 0; f < 3; ++f) EXPECT_EQ(piece.inputs.at(s, f), whole.inputs.at(seen, f));
      }
      EXPECT_EQ(seen, whole.inputs.batch);
    }
}

}  // namespace
}  // namespace tulle

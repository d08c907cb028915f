#include "tulle/data/augment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
#include "tulle/data/loader.h"

namespace tulle {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ImageShape kShape{.channels = 2, .height = 3, .width = 4};

// Pixel (c, y, x) is 100 c + 10 y + x + 1.
Features image() {
  Features features{.samples = 1, .features = 24};
  for (int c = 0; c < 2; ++c)
    for (int y = 0; y < 3; ++y)
      for (int x = 0; x < 4; ++x)
        features.bytes.push_back(static_cast<std::uint8_t>(100 * c + 10 * y + x + 1));
  return features;
}

std::vector<float> augmented(const Augmentation& how, std::uint64_t draw) {
  std::vector<float> out(24);
  augment(image(), 0, kShape, how, {.seed = 3, .stream = Stream::kAugment}, 8 * draw, out.data());
  return out;
}

TEST(Augmentation, FlipsOneTimeInTwo) {
  const std::vector<float> plain = augmented({}, 0);
  EXPECT_EQ(plain[0], 1.0f);
  int flipped = 0;
  for (std::uint64_t draw = 0; draw < 400; ++draw) {
    const std::vector<float> found = augmented({.flip = true}, draw);
    if (found == plain) continue;
    ++flipped;
    EXPECT_EQ(found[0], 4.0f);
    EXPECT_EQ(found[3], 1.0f);
    EXPECT_EQ(found[12], 104.0f);
  }
  EXPECT_NEAR(flipped, 200, 50);
}

TEST(Augmentation, ShiftsByWholePixelsAndFillsWithBlack) {
  std::set<std::vector<float>> seen;
  for (std::uint64_t draw = 0; draw < 300; ++draw) {
    const std::vector<float> found = augmented({.shift = 0.3}, draw);  // up to one pixel each way
    seen.insert(found);
    for (const float value : found) EXPECT_EQ(value, std::floor(value));
  }
  EXPECT_EQ(seen.size(), 9u);
  EXPECT_TRUE(seen.contains(augmented({}, 0)));
}

TEST(Augmentation, CropsAndTurnsBetweenPixels) {
  const Features flat{.samples = 1, .features = 24, .bytes = AlignedVector<std::uint8_t>(24, 50)};
  std::vector<float> out(24);
  for (std::uint64_t draw = 0; draw < 50; ++draw) {
    augment(flat, 0, kShape, {.crop = 0.3}, {.seed = 1, .stream = Stream::kAugment}, 8 * draw, out.data());
    EXPECT_FLOAT_EQ(out[5], 50.0f);  // inside, a part of one colour is that colour
    augment(flat, 0, kShape, {.rotate = 40.0}, {.seed = 1, .stream = Stream::kAugment}, 8 * draw, out.data());
    for (const float value : out) EXPECT_TRUE(value >= 0.0f && value <= 50.001f);
    EXPECT_NEAR(out[5], 50.0f, 15.0f);
  }
}

TEST(Augmentation, ErasesABoxWithPixelsOfTheImageItself) {
  constexpr ImageShape kWide{.channels = 2, .height = 20, .width = 30};
  Features wide{.samples = 1, .features = 1200};
  for (int i = 0; i < 1200; ++i) wide.floats.push_back(static_cast<float>(i));
  constexpr int kDraws = 4000;
  int erased = 0;
  double area = 0.0, least = 1.0, most = 0.0;
  for (std::uint64_t draw = 0; draw < kDraws; ++draw) {
    std::vector<float> out(1200);
    augment(wide, 0, kWide, {.erase = 0.25}, {.seed = 3, .stream = Stream::kAugment}, 8 * draw, out.data());
    int top = 20, bottom = 0, left = 30, right = 0, changed = 0;
    for (int i = 0; i < 600; ++i) {
      ASSERT_EQ(out[static_cast<std::size_t>(i + 600)],
                out[static_cast<std::size_t>(i)] + 600.0f);  // all channels
      if (out[static_cast<std::size_t>(i)] == static_cast<float>(i)) continue;
      ++changed;
      top = std::min(top, i / 30), bottom = std::max(bottom, i / 30 + 1);
      left = std::min(left, i % 30), right = std::max(right, i % 30 + 1);
    }
    if (changed == 0) continue;
    ++erased;
    const double box = static_cast<double>(bottom - top) * (right - left);
    EXPECT_GE(changed, 0.8 * box - 3.0) << "a full box, but for pixels that drew themselves";
    area += box / 600.0;
    least = std::min(least, box / 600.0), most = std::max(most, box / 600.0);
  }
  EXPECT_NEAR(erased, 0.25 * kDraws, 0.03 * kDraws);
  EXPECT_NEAR(area / erased, 0.5 * (0.02 + 1.0 / 3.0), 0.02);
  EXPECT_GE(least, 0.01);
  EXPECT_LE(most, 0.36);
}

TEST(Augmentation, ReadsItsTexts) {
  const std::vector<std::string> texts{"hflip",      "shift:0.1", "rotate:10", "crop:0.5",
                                       "erase:0.25", "mixup:0.8", "cutmix:1"};
  const Augmentation how = parse_augmentation(texts);
  EXPECT_TRUE(how.flip);
  EXPECT_EQ(how.shift, 0.1);
  EXPECT_EQ(how.rotate, 10.0);
  EXPECT_EQ(how.crop, 0.5);
  EXPECT_EQ(how.erase, 0.25);
  EXPECT_EQ(how.mixup, 0.8);
  EXPECT_EQ(how.cutmix, 1.0);
  EXPECT_TRUE(parse_augmentation({}).none());
  for (const std::string bad :
       {"vflip", "shift", "shift:", "shift:0.6", "shift:-1", "shift:nan", "crop:0", "crop:1.5", "rotate:181",
        "rotate:1x", "erase:0", "mixup:0", "cutmix:2", ""}) {
    const std::vector<std::string> one{bad};
    try {
      parse_augmentation(one);
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConfig);
      EXPECT_THAT(error.what(), HasSubstr("data.augment, found '" + bad + "'"));
    }
  }
}

TEST(Loader, AugmentsTrainingEpochsAloneAndTheSameForAnyNumberOfThreads) {
  Split split;
  split.inputs = image();
  split.classes = {0};
  Loader loader(split, {}, 1, true, 5);
  loader.augment(kShape, {.flip = true, .shift = 0.3, .erase = 0.5}, 2);
  const auto pixels = [&] {
    const Panels<const float> x = loader.get(0, 16).inputs;
    std::vector<float> all;
    for (std::int32_t f = 0; f < 24; ++f) all.push_back(x.at(0, f));
    return all;
  };
  loader.start_epoch(0, /*shuffled=*/false);
  const std::vector<float> plain = pixels();
  EXPECT_EQ(plain, augmented({}, 0));
  std::set<std::vector<float>> seen;
  for (int epoch = 0; epoch < 20; ++epoch) {
    loader.start_epoch(epoch, /*shuffled=*/true);
    const std::vector<float> once = pixels();
    EXPECT_EQ(pixels(), once);  // of an epoch, again and again
    const int threads = thread_count();
    set_thread_count(1);
    EXPECT_EQ(pixels(), once);
    set_thread_count(threads);
    seen.insert(once);
  }
  EXPECT_GT(seen.size(), 5u);
  EXPECT_THROW(loader.augment({.channels = 1, .height = 3, .width = 4}, {.flip = true}, 2),
               std::invalid_argument);
}

// Four samples: the i-th is all 10 i, of class i.
Split flats() {
  Split split;
  split.inputs = {.samples = 4, .features = 24};
  for (int i = 0; i < 4; ++i) {
    split.inputs.bytes.insert(split.inputs.bytes.end(), 24, static_cast<std::uint8_t>(10 * i));
    split.classes.push_back(i);
  }
  return split;
}

class Mixing : public ::testing::TestWithParam<Augmentation> {};

// The mean of a mixed image of flat ones is the mean of its targets, whatever was drawn.
TEST_P(Mixing, TargetsSayWhatShareOfEachClassAnImageHolds) {
  const Split split = flats();
  Loader loader(split, {}, 4, true, 5);
  loader.augment(kShape, GetParam(), 4);
  std::set<float> shares;
  for (int epoch = 0; epoch < 30; ++epoch) {
    loader.start_epoch(epoch, /*shuffled=*/true);
    const Batch batch = loader.get(0, 16);
    ASSERT_EQ(batch.targets.size(), 16u);
    for (std::int32_t b = 0; b < 4; ++b) {
      double mean = 0.0, wanted = 0.0, sum = 0.0;
      for (std::int32_t f = 0; f < 24; ++f) mean += static_cast<double>(batch.inputs.at(b, f)) / 24.0;
      for (int c = 0; c < 4; ++c) {
        const auto share = static_cast<double>(batch.targets[static_cast<std::size_t>(4 * b + c)]);
        wanted += share * 10.0 * c;
        sum += share;
      }
      EXPECT_NEAR(mean, wanted, 1e-4);
      EXPECT_NEAR(sum, 1.0, 1e-6);
      shares.insert(
          batch.targets[static_cast<std::size_t>(4 * b + batch.classes[static_cast<std::size_t>(b)])]);
    }
  }
  EXPECT_GT(shares.size(), 5u);
  loader.start_epoch(0, /*shuffled=*/false);
  EXPECT_TRUE(loader.get(0, 16).targets.empty());
}

// Three flat images and four: in batches of both, one has a middle.
TEST_P(Mixing, MakesTheSameOfASampleInAPartOfTheBatch) {
  const Split split = flats();
  for (const int batch_size : {3, 4}) {
    Loader loader(split, {}, batch_size, true, 5), part_loader(split, {}, batch_size, true, 5);
    for (Loader* const each : {&loader, &part_loader}) each->augment(kShape, GetParam(), 4);
    for (int epoch = 0; epoch < 10; ++epoch) {
      for (Loader* const each : {&loader, &part_loader}) each->start_epoch(epoch, /*shuffled=*/true);
      const Batch whole = loader.get(0, 16);
      for (int p = 0; p < 2; ++p) {
        const Batch part = part_loader.get(0, 16, {.part = p, .parts = 2, .grain = 1});
        ASSERT_GT(part.inputs.batch, 0);
        for (std::int32_t b = 0; b < part.inputs.batch; ++b) {
          const auto place = static_cast<std::int32_t>(part.first_position) + b;
          for (std::int32_t f = 0; f < 24; ++f)
            EXPECT_EQ(part.inputs.at(b, f), whole.inputs.at(place, f)) << batch_size << ' ' << p << ' ' << b;
          EXPECT_TRUE(std::ranges::equal(part.targets.subspan(static_cast<std::size_t>(4 * b), 4),
                                         whole.targets.subspan(static_cast<std::size_t>(4 * place), 4)));
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Mixing,
                         ::testing::Values(Augmentation{.mixup = 0.8}, Augmentation{.cutmix = 1.0},
                                           Augmentation{.mixup = 0.4, .cutmix = 0.5}));

TEST(MixingShare, OfATinyAlphaIsAllOrNothing) {
  double mean = 0.0;
  constexpr int kDraws = 1000;
  for (int i = 0; i < kDraws; ++i) {
    const float share = draw_mix(kShape, {.mixup = 1e-12}, {.seed = 1, .stream = Stream::kAugment},
                                 static_cast<std::uint64_t>(i) << 16)
                            .share;
    EXPECT_TRUE(share == 0.0f || share == 1.0f);
    mean += static_cast<double>(share) / kDraws;
  }
  EXPECT_NEAR(mean, 0.5, 0.05);
}

TEST(MixingShare, FollowsTheBetaLaw) {
  double mean = 0.0, square = 0.0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const auto share =
        static_cast<double>(draw_mix(kShape, {.mixup = 0.5}, {.seed = 1, .stream = Stream::kAugment},
                                     static_cast<std::uint64_t>(i) << 16)
                                .share);
    mean += share / kDraws;
    square += share * share / kDraws;
  }
  EXPECT_NEAR(mean, 0.5, 0.01);
  EXPECT_NEAR(square - mean * mean, 0.125, 0.003);  // of Beta(a, a): 1 / (4 (2 a + 1))
}

}  // namespace
}  // namespace tulle

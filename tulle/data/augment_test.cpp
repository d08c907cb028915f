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
  const Features flat{.samples = 1, .features = 24, .bytes = std::vector<std::uint8_t>(24, 50)};
  std::vector<float> out(24);
  for (std::uint64_t draw = 0; draw < 50; ++draw) {
    augment(flat, 0, kShape, {.crop = 0.3}, {.seed = 1, .stream = Stream::kAugment}, 8 * draw, out.data());
    EXPECT_FLOAT_EQ(out[5], 50.0f);  // inside, a part of one colour is that colour
    augment(flat, 0, kShape, {.rotate = 40.0}, {.seed = 1, .stream = Stream::kAugment}, 8 * draw, out.data());
    for (const float value : out) EXPECT_TRUE(value >= 0.0f && value <= 50.001f);
    EXPECT_NEAR(out[5], 50.0f, 15.0f);
  }
}

TEST(Augmentation, ReadsItsTexts) {
  const std::vector<std::string> texts{"hflip", "shift:0.1", "rotate:10", "crop:0.5"};
  const Augmentation how = parse_augmentation(texts);
  EXPECT_TRUE(how.flip);
  EXPECT_EQ(how.shift, 0.1);
  EXPECT_EQ(how.rotate, 10.0);
  EXPECT_EQ(how.crop, 0.5);
  EXPECT_TRUE(parse_augmentation({}).none());
  for (const std::string bad : {"vflip", "shift", "shift:", "shift:0.6", "shift:-1", "shift:nan", "crop:0",
                                "crop:1.5", "rotate:181", "rotate:1x", ""}) {
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
  loader.augment(kShape, {.flip = true, .shift = 0.3});
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
  EXPECT_THROW(loader.augment({.channels = 1, .height = 3, .width = 4}, {.flip = true}),
               std::invalid_argument);
}

}  // namespace
}  // namespace tulle

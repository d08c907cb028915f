// Images that are decoded when they are asked for, and batches that are made
// beside the step before theirs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tulle/base/file_ops_testing.h"
#include "tulle/base/parallel.h"
#include "tulle/data/data_testing.h"
#include "tulle/data/formats_testing.h"
#include "tulle/data/load.h"
#include "tulle/data/loader.h"
#include "tulle/data/standardize.h"

namespace tulle::testing {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr int kImages = 23;

// Of 5 x 4 pixels, in two folders; every fourth is gray.
std::vector<std::pair<std::string, std::string>> members() {
  std::vector<std::pair<std::string, std::string>> all;
  for (int i = 0; i < kImages; ++i) {
    const int channels = i % 4 == 3 ? 1 : 3;
    std::string pixels(static_cast<std::size_t>(20 * channels), '\0');
    for (std::size_t p = 0; p < pixels.size(); ++p)
      pixels[p] = static_cast<char>(37 * static_cast<std::size_t>(i) + 11 * p * p);
    all.emplace_back((i % 2 == 0 ? "train/a/" : "train/b/") + std::to_string(100 + i) + ".png",
                     png(5, 4, channels, pixels));
  }
  return all;
}

void write_folder(const TemporaryDirectory& folder) {
  for (const auto& [name, bytes] : members()) {
    std::filesystem::create_directories(std::filesystem::path(folder / name).parent_path());
    write_text(folder / name, bytes);
  }
}

Dataset load(const std::string& path, bool late, int resize = 0, const std::string& scale = "channel") {
  DataOptions options;
  options.train = options.test = path;
  options.scale = scale;
  options.resize = resize;
  options.decode_late = late;
  return load_dataset(options);
}

std::vector<float> values_of(const Panels<const float>& x) {
  std::vector<float> all;
  for (std::int32_t b = 0; b < x.batch; ++b)
    for (std::int32_t f = 0; f < x.features; ++f) all.push_back(x.at(b, f));
  return all;
}

// Every batch of two epochs and of a look at the samples in order.
std::vector<std::vector<float>> batches_of(const Dataset& data, bool ahead, const Augmentation& how,
                                           const Loader::Part& part = {.part = 0, .parts = 1, .grain = 1}) {
  Loader made(data.train, data.scaling, 6, /*keep_last=*/true, 5);
  made.augment(data.image, how, 2);
  if (ahead) made.make_ahead();
  Loader loader = std::move(made);  // what is made ahead outlives a move
  std::vector<std::vector<float>> all;
  for (const int epoch : {0, 1, -1}) {
    loader.start_epoch(std::max(epoch, 0), /*shuffled=*/epoch >= 0);
    for (std::int64_t b = 0; b < loader.batches(); ++b)
      all.push_back(values_of(loader.get(b, 16, part).inputs));
  }
  return all;
}

class LateImages : public ::testing::TestWithParam<Augmentation> {};

TEST_P(LateImages, AreTheBatchesOfEarlyOnesFromAFolderOrATarAheadOrNotForAnyNumberOfThreads) {
  const TemporaryDirectory folder;
  write_folder(folder);
  const TemporaryDirectory other;
  write_text(other / "all.tar", tar(members()));
  for (const int resize : {0, 3})
    for (const std::string& path : {folder.path(), other / "all.tar"}) {
      const Dataset early = load(path, /*late=*/false, resize), late = load(path, /*late=*/true, resize);
      EXPECT_TRUE(late.train.inputs.bytes.empty());
      EXPECT_EQ(late.train.classes, early.train.classes);
      EXPECT_EQ(late.scaling.mean, early.scaling.mean);
      EXPECT_EQ(late.scaling.deviation, early.scaling.deviation);
      const auto expected = batches_of(early, /*ahead=*/false, GetParam());
      for (const int threads : {1, 2, 5}) {
        set_thread_count(threads);
        for (const bool ahead : {false, true})
          EXPECT_EQ(batches_of(late, ahead, GetParam()), expected) << threads;
        EXPECT_EQ(batches_of(early, /*ahead=*/true, GetParam()), expected) << threads;
      }
      set_thread_count(0);
      const Loader::Part second{.part = 1, .parts = 2, .grain = 1};
      EXPECT_EQ(batches_of(late, /*ahead=*/true, GetParam(), second),
                batches_of(early, /*ahead=*/false, GetParam(), second));
    }
}

TEST_P(LateImages, AnEpochBegunInTheMiddleOfAnotherHasItsOwnBatches) {
  const TemporaryDirectory folder;
  write_folder(folder);
  const Dataset data = load(folder.path(), /*late=*/true);
  Loader ahead(data.train, data.scaling, 6, /*keep_last=*/true, 5);
  Loader plain(data.train, data.scaling, 6, /*keep_last=*/true, 5);
  ahead.make_ahead();
  for (Loader* const each : {&ahead, &plain}) each->augment(data.image, GetParam(), 2);
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (Loader* const each : {&ahead, &plain}) each->start_epoch(epoch, /*shuffled=*/true);
    for (const std::int64_t batch : {1, 2, 0})  // after which the next one is made
      EXPECT_EQ(values_of(ahead.get(batch, 16).inputs), values_of(plain.get(batch, 16).inputs)) << epoch;
  }
}

INSTANTIATE_TEST_SUITE_P(Augmented, LateImages,
                         ::testing::Values(Augmentation{}, Augmentation{.flip = true, .crop = 0.4},
                                           Augmentation{.shift = 0.2, .mixup = 0.8}));

TEST(LateImages, HoldNoMoreThanTheBytesOfTheirArchiveOrTheNamesInTheirFolder) {
  const TemporaryDirectory folder;
  write_folder(folder);
  const TemporaryDirectory other;
  write_text(other / "all.tar", tar(members()));
  std::size_t files = 0, names = 0;
  for (const auto& [name, bytes] : members()) files += bytes.size(), names += name.size();
  const auto bytes_of = [](const std::string& path) {
    return load(path, /*late=*/true).train.inputs.generated.source->bytes();
  };
  EXPECT_GE(bytes_of(other / "all.tar"), static_cast<std::int64_t>(files));
  EXPECT_LE(bytes_of(other / "all.tar"), static_cast<std::int64_t>(files + names + 100 * kImages));
  EXPECT_LE(bytes_of(folder.path()), static_cast<std::int64_t>(names + 100 * kImages));
}

// Two damaged ones in a batch: the first of the batch is named, as often as one
// looks.
TEST(LateImages, ADamagedOneIsRefusedByNameWhenItsBatchIsAskedFor) {
  auto all = members();
  for (const std::size_t i : {9u, 10u}) all[i].second.resize(all[i].second.size() - 30);
  const TemporaryDirectory folder;
  write_text(folder / "all.tar", tar(all));
  EXPECT_THAT(refusal([&] { load(folder / "all.tar", /*late=*/false); }), HasSubstr("image 'train/"));
  const Dataset data = load(folder / "all.tar", /*late=*/true, 0, "unit");
  for (const auto& [ahead, threads] :
       {std::pair{false, 1}, {false, 3}, {false, 5}, {true, 1}, {true, 3}, {true, 5}})
    for (int turn = 0; turn < 20; ++turn) {
      set_thread_count(threads);
      Loader loader(data.train, data.scaling, 6, /*keep_last=*/true, 5);
      if (ahead) loader.make_ahead();
      (void)loader.get(0, 16);
      EXPECT_THAT(refusal([&] { (void)loader.get(1, 16); }), HasSubstr("image 'train/b/109.png'"));
      (void)loader.get(2, 16);
    }
  set_thread_count(0);
  EXPECT_THAT(refusal([&] { load(folder / "all.tar", /*late=*/true); }), HasSubstr("image 'train/"));
}

TEST(LateImages, AreToldApartByEveryFile) {
  const auto identity_of = [](const std::vector<std::pair<std::string, std::string>>& files) {
    const TemporaryDirectory folder;
    write_text(folder / "all.tar", tar(files));
    return load(folder / "all.tar", /*late=*/true).train.inputs.generated.source->identity();
  };
  auto files = members();
  const std::uint64_t before = identity_of(files);
  EXPECT_EQ(identity_of(files), before);
  std::swap(files[20].second, files[22].second);
  EXPECT_NE(identity_of(files), before);
}

TEST(LateImages, ThinOnesAreRefusedWhereScalingWouldMakeThemHuge) {
  const TemporaryDirectory folder;
  write_text(folder / "all.tar", tar({{"train/a/thin.png", png(1, 100000, 1, std::string(100000, 'x'))},
                                      {"train/b/fine.png", png(4, 4, 1, std::string(16, 'x'))}}));
  for (const bool late : {false, true})
    EXPECT_THAT(refusal([&] {
                  const Dataset data = load(folder / "all.tar", late, 224, "unit");
                  std::vector<float> pixels(static_cast<std::size_t>(data.train.inputs.features));
                  data.train.inputs.generated.source->row(0, pixels);
                }),
                HasSubstr("once its shorter side has 224"))
        << late;
}

TEST(LateImages, HeadersAreLookedAtBeforeTheTraining) {
  const TemporaryDirectory folder;
  auto all = members();
  all[4].second = "no image";
  write_text(folder / "1.tar", tar(all));
  EXPECT_THAT(refusal([&] { load(folder / "1.tar", /*late=*/true, 0, "unit"); }),
              HasSubstr("image 'train/a/104.png'"));
  all[4].second = png(4, 4, 1, std::string(16, 'x'));
  write_text(folder / "2.tar", tar(all));
  EXPECT_THAT(refusal([&] { load(folder / "2.tar", /*late=*/true, 0, "unit"); }),
              HasSubstr("found 4 x 4 pixels, expected 5 x 4 as in 'train/a/100.png'"));
}

TEST(LateImages, AnImageThatGoesAwayOrChangesItsSizeMeanwhileIsRefused) {
  const TemporaryDirectory folder;
  write_folder(folder);
  const Dataset data = load(folder.path(), /*late=*/true, 0, "unit");
  const std::string first = folder / "train/a/100.png";
  std::vector<float> out(60);
  write_text(first, png(4, 4, 1, std::string(16, 'x')));
  EXPECT_THAT(refusal([&] { data.train.inputs.generated.source->row(0, out); }),
              HasSubstr("image 'train/a/100.png', found another size than at the start"));
  std::filesystem::remove(first);
  EXPECT_THAT(refusal([&] { data.train.inputs.generated.source->row(0, out); }, ErrorKind::kMissingInput),
              HasSubstr("100.png"));
}

TEST(LateImages, CannotLeaveOutDamagedOnes) {
  DataOptions options;
  options.train = "x";
  options.decode_late = options.skip_bad_images = true;
  EXPECT_THAT(refusal([&] { load_dataset(options); }, ErrorKind::kConfig),
              HasSubstr("data.bad_images, found 'skip', expected 'error'"));
}

TEST(ImageNetScaling, IsThePublishedOneAndForColourImagesAlone) {
  const Features pixels{.samples = 1, .features = 6, .bytes = AlignedVector<std::uint8_t>(6, 255)};
  const ImageShape colour{.channels = 3, .height = 1, .width = 2},
      gray{.channels = 1, .height = 1, .width = 6};
  Split split;
  split.inputs = pixels;
  Loader loader(split, fit_scaling("imagenet", pixels, colour), 1,
                /*keep_last=*/true, 1);
  const std::vector<float> white{(1 - 0.485f) / 0.229f, (1 - 0.456f) / 0.224f, (1 - 0.406f) / 0.225f};
  const std::vector<float> found = values_of(loader.get(0, 16).inputs);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_FLOAT_EQ(found[i], white[i / 2]);
  EXPECT_THAT(refusal([&] { fit_scaling("imagenet", pixels, gray); }, ErrorKind::kConfig),
              HasSubstr("expected another for data that are no colour images"));
}

}  // namespace
}  // namespace tulle::testing

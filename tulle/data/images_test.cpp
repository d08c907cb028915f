// CIFAR, and folders and archives of images.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tulle/base/file_ops_testing.h"
#include "tulle/data/data_testing.h"
#include "tulle/data/formats_testing.h"
#include "tulle/data/images.h"

namespace tulle {

ReadBytes read_images, read_cifar;

}  // namespace tulle

namespace tulle::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

RawSplit from_tar(const std::vector<std::pair<std::string, std::string>>& members) {
  return read_images(bytes_of(tar(members)), "f", {});
}

TEST(Images, FoldersAreClassesAndGrayOnesAreRepeatedInAllChannels) {
  const RawSplit split = from_tar({{"train/dog/1.png", png(2, 1, 3, "rgbRGB")},
                                   {"notes.txt", "x"},
                                   {"train/cat/7.PNG", png(2, 1, 1, "xy")}});
  EXPECT_THAT(split.labels.names, ElementsAre("dog", "cat"));
  EXPECT_EQ(split.image.channels, 3);
  EXPECT_EQ(split.image.width, 2);
  EXPECT_THAT(split.inputs.bytes, ElementsAre('r', 'R', 'g', 'G', 'b', 'B', 'x', 'y', 'x', 'y', 'x', 'y'));
  EXPECT_EQ(from_tar({{"a/1.png", png(2, 2, 1, "abcd")}}).image.channels, 1);
}

TEST(Images, ManyGrayOnesBeforeAColouredOneAreRepeatedToo) {
  std::vector<std::pair<std::string, std::string>> members;
  std::vector<std::uint8_t> expected;
  for (int i = 0; i < 1500; ++i) {  // more than are decoded at a time
    const bool gray = i != 1200;
    members.emplace_back("a/" + std::to_string(i) + ".png",
                         png(1, 1, gray ? 1 : 3, gray ? std::string(1, static_cast<char>(i)) : "rgb"));
    for (int c = 0; c < 3; ++c) expected.push_back(static_cast<std::uint8_t>(gray ? i : "rgb"[c]));
  }
  const RawSplit split = from_tar(members);
  EXPECT_EQ(split.image.channels, 3);
  EXPECT_EQ(split.labels.names.size(), 1500u);
  EXPECT_THAT(split.inputs.bytes, ElementsAreArray(expected));
}

TEST(Images, AFolderOnDiskEqualsATarOfIt) {
  const TemporaryDirectory folder;
  std::filesystem::create_directories(folder / "b");
  std::filesystem::create_directories(folder / "a");
  write_text(folder / "b/1.png", png(1, 1, 1, "z"));
  write_text(folder / "a/2.png", png(1, 1, 1, "y"));
  const RawSplit split = read_file("auto", folder.path(), {});
  EXPECT_EQ(split.reader, "images");
  EXPECT_THAT(split.labels.names, ElementsAre("a", "b"));
  EXPECT_THAT(split.inputs.bytes, ElementsAre('y', 'z'));
}

TEST(Images, AnEmptyFolderOfAClassIsRefusedByName) {
  const TemporaryDirectory folder;
  std::filesystem::create_directories(folder / "cat");
  std::filesystem::create_directories(folder / "dog");
  write_text(folder / "cat/1.png", png(1, 1, 1, "z"));
  EXPECT_THAT(refusal([&] { read_file("auto", folder.path(), {}); }),
              HasSubstr("folder 'dog', found no files"));
}

TEST(Images, RefuseOtherSizesDamageAndBombs) {
  EXPECT_THAT(refusal([] {
                from_tar({{"a/1.png", png(2, 1, 1, "ab")}, {"a/2.png", png(1, 2, 1, "ab")}});
              }),
              HasSubstr("image 'a/2.png', found 1 x 2 pixels, expected 2 x 1 as in 'a/1.png'"));
  EXPECT_THAT(refusal([] {
                from_tar({{"a/1.png", png(2, 1, 1, "ab").substr(0, 50)}});
              }),
              HasSubstr("image 'a/1.png'"));
  EXPECT_THAT(refusal([] {
                from_tar({{"a/1.png", png(20000, 20000, 1, "")}});
              }),
              HasSubstr("expected at most 100000000 pixels"));
  EXPECT_THAT(refusal([] { from_tar({{"a/1.txt", "x"}}); }), HasSubstr("images, found none"));
  EXPECT_THAT(refusal([] {
                from_tar({{"../1.png", png(1, 1, 1, "a")}});
              }),
              HasSubstr("expected a name below the archive"));
}

TEST(Images, ResizesTheShorterSideAndKeepsTheMiddle) {
  // 6 x 2 pixels of three colours, 2 wide each: the middle one stays.
  const std::string wide = png(6, 2, 1, "aabbccaabbcc");
  const RawSplit split = read_images(
      bytes_of(tar({{"x/1.png", wide}, {"x/2.png", png(2, 6, 1, "aaaabbbbcccc")}})), "f", {.resize = 2});
  EXPECT_EQ(split.image.width, 2);
  EXPECT_EQ(split.image.height, 2);
  EXPECT_THAT(split.inputs.bytes, ElementsAre('b', 'b', 'b', 'b', 'b', 'b', 'b', 'b'));
  const RawSplit larger = read_images(bytes_of(tar({{"x/1.png", png(2, 2, 1, "dddd")}})), "f", {.resize = 5});
  EXPECT_THAT(larger.inputs.bytes, ::testing::Each('d'));
  EXPECT_EQ(larger.inputs.features, 25);
}

TEST(Images, AnArchiveOfSeveralSplitsGivesTheOneThatIsWanted) {
  const auto bytes =
      bytes_of(tar({{"train/a/1.png", png(1, 1, 1, "t")}, {"val/a/2.png", png(1, 1, 1, "v")}}));
  EXPECT_THAT(read_images(bytes, "f", {}).inputs.bytes, ElementsAre('t'));
  EXPECT_THAT(read_images(bytes, "f", {.test_images = true}).inputs.bytes, ElementsAre('v'));
  const auto one = bytes_of(tar({{"train/a/1.png", png(1, 1, 1, "t")}}));
  EXPECT_THAT(read_images(one, "f", {.test_images = true}).inputs.bytes, ElementsAre('t'));
}

TEST(Images, SplitsAreFoundBelowADotAndBelowOneTopFolder) {
  for (const std::string top : {"./", "././", "pets/", "./pets/"}) {
    const auto bytes =
        bytes_of(tar({{top + "train/a/1.png", png(1, 1, 1, "t")}, {top + "val/a/2.png", png(1, 1, 1, "v")}}));
    EXPECT_THAT(read_images(bytes, "f", {}).inputs.bytes, ElementsAre('t')) << top;
    EXPECT_THAT(read_images(bytes, "f", {.test_images = true}).inputs.bytes, ElementsAre('v')) << top;
  }
  // A class may be called like a split.
  EXPECT_THAT(from_tar({{"test/1.png", png(1, 1, 1, "x")}, {"train/2.png", png(1, 1, 1, "y")}}).labels.names,
              ElementsAre("test", "train"));
  EXPECT_EQ(from_tar({{"./1.png", png(1, 1, 1, "x")}}).labels.size(), 0u);
}

TEST(Images, AFolderWhoseNameIsNotUtf8IsRefused) {
  EXPECT_THAT(refusal([] {
                from_tar({{"caf\xe9/1.png", png(1, 1, 1, "x")}});
              }),
              HasSubstr("expected a name in UTF-8"));
}

TEST(Images, ALinkIsAnImageOfTheFolderItLiesIn) {
  const TemporaryDirectory folder;
  for (const std::string name : {"all", "data", "data/cat", "data/dog"})
    std::filesystem::create_directory(folder / name);
  write_text(folder / "all/1.png", png(1, 1, 1, "x"));
  write_text(folder / "data/dog/2.png", png(1, 1, 1, "y"));
  std::filesystem::create_symlink(folder / "all/1.png", folder / "data/cat/1.png");
  const RawSplit split = read_file("auto", folder / "data", {});
  EXPECT_THAT(split.labels.names, ElementsAre("cat", "dog"));
  EXPECT_THAT(split.inputs.bytes, ElementsAre('x', 'y'));
}

TEST(Images, LinksThatLeadNowhereAreBadImagesAndLinksToFoldersAreRefused) {
  const TemporaryDirectory folder;
  for (const std::string name : {"cat", "dog"}) std::filesystem::create_directory(folder / name);
  write_text(folder / "cat/1.png", png(1, 1, 1, "x"));
  write_text(folder / "dog/2.png", png(1, 1, 1, "y"));
  std::filesystem::create_symlink("3.png", folder / "dog/3.png");  // to itself
  EXPECT_THAT(refusal([&] { read_file("auto", folder.path(), {}); }),
              HasSubstr("image 'dog/3.png', found a link to no file"));
  EXPECT_EQ(read_file("auto", folder.path(), {.skip_bad_images = true}).inputs.samples, 2);
  std::filesystem::create_directory_symlink(folder / "dog", folder / "cow");
  EXPECT_THAT(refusal([&] { read_file("auto", folder.path(), {.skip_bad_images = true}); }),
              HasSubstr("folder 'cow', found a link to one"));
}

TEST(Images, DamagedOnesAreLeftOutWhereThatIsAskedFor) {
  const auto bytes =
      bytes_of(tar({{"a/1.png", png(1, 1, 1, "x").substr(0, 40)}, {"b/2.png", png(1, 1, 1, "y")}}));
  const RawSplit split = read_images(bytes, "f", {.skip_bad_images = true});
  EXPECT_THAT(split.labels.names, ElementsAre("b"));
  EXPECT_THAT(refusal([&] { read_images(bytes, "f", {}); }), HasSubstr("image 'a/1.png'"));
}

TEST(Cifar, ReadsEitherFormAndRefusesAnyOtherSize) {
  const RawSplit ten = read_cifar(bytes_of('\x03' + std::string(3072, 'a')), "f", {});
  EXPECT_THAT(ten.labels.numbers, ElementsAre(3));
  EXPECT_EQ(ten.image.channels, 3);
  const RawSplit hundred = read_cifar(bytes_of("\x13\x42" + std::string(3072, 'a')), "f", {});
  EXPECT_THAT(hundred.labels.numbers, ElementsAre(0x42));
  EXPECT_THAT(refusal([] { read_cifar(bytes_of(std::string(3000, 'a')), "f", {}); }),
              HasSubstr("size, found 3000 bytes"));
  EXPECT_THAT(refusal([] { read_cifar(bytes_of('\x10' + std::string(3072, 'a')), "f", {}); }),
              HasSubstr("labels below 10"));
}

}  // namespace
}  // namespace tulle::testing

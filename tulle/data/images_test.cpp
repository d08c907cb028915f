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

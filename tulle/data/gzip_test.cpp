#include "tulle/data/gzip.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tulle/base/file_ops_testing.h"
#include "tulle/data/data_testing.h"

namespace tulle::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string unpacked(const std::string& text, std::uint64_t limit = content_limit()) {
  return text_of(unpack(bytes_of(text), "f.gz", limit));
}

TEST(Unpack, PlainBytesPassWhateverTheirName) { EXPECT_EQ(unpacked("plain"), "plain"); }

TEST(Unpack, MembersOneAfterAnotherAreOneContent) {
  EXPECT_EQ(unpacked(packed("one ") + packed("") + packed("two")), "one two");
}

TEST(Unpack, ContentMuchLargerThanTheFileComesOutWhole) {
  const std::string zeros(5 << 20, '\0');
  EXPECT_EQ(unpacked(packed(zeros)), zeros);
}

TEST(Unpack, EveryTruncationIsRefusedWithFileAndOffset) {
  const std::string whole = packed("some content that is packed");
  for (std::size_t size = 2; size < whole.size(); ++size) {
    const std::string message = refusal([&] { unpacked(whole.substr(0, size)); });
    EXPECT_THAT(message, StartsWith("f.gz@" + std::to_string(size) + ": ")) << message;
  }
}

TEST(Unpack, NoFlippedBitAfterTheHeaderChangesTheContentUnseen) {
  const std::string content = "some content that is packed", whole = packed(content);
  int refused = 0;
  for (std::size_t bit = 10 * 8; bit < whole.size() * 8; ++bit) {
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    try {
      EXPECT_EQ(unpacked(damaged), content)
          << "bit " << bit;  // the last byte of data has bits that mean nothing
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), StartsWith("f.gz@")) << "bit " << bit;
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(whole.size() - 11) * 8);
}

TEST(Unpack, BytesAfterTheLastMemberAreRefused) {
  EXPECT_THAT(refusal([] { unpacked(packed("x") + "rest"); }), HasSubstr("incorrect header"));
}

TEST(Unpack, ContentUpToTheLimitPassesAndAByteMoreIsRefused) {
  const std::string bomb = packed(std::string(3 << 20, '\0'));
  EXPECT_EQ(unpacked(bomb, 3 << 20).size(), 3u << 20);
  EXPECT_THAT(refusal([&] { unpacked(bomb, (3 << 20) - 1); }),
              HasSubstr("found more, expected whole members of at"));
}

TEST(ReadContent, ReadsPlainAndPackedFiles) {
  const TemporaryDirectory folder;
  write_text(folder / "plain.gz", "plain");  // the name decides nothing
  write_text(folder / "packed", packed("packed"));
  write_text(folder / "empty", "");
  EXPECT_EQ(text_of(read_content(folder / "plain.gz")), "plain");
  EXPECT_EQ(text_of(read_content(folder / "packed")), "packed");
  EXPECT_EQ(text_of(read_content(folder / "empty")), "");
}

TEST(ReadContent, AMissingFileIsMissingInput) {
  EXPECT_THAT(refusal([] { read_content("/nowhere/file"); }, ErrorKind::kMissingInput),
              StartsWith("/nowhere/file: "));
}

TEST(ReadContent, AFileOneMayNotReadIsAPermission) {
  const TemporaryDirectory folder;
  write_text(folder / "secret", "x");
  ASSERT_EQ(chmod((folder / "secret").c_str(), 0), 0);
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
  const uid_t user = geteuid();
  if (user == 0 && seteuid(65534) != 0) GTEST_SKIP() << "root may read everything";
  refusal([&] { read_content(folder / "secret"); }, ErrorKind::kPermission);
  ASSERT_EQ(seteuid(user), 0);
}

TEST(ReadContent, DirectoriesPipesDevicesAndSystemFilesAreRefusedWithoutWaiting) {
  const TemporaryDirectory folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const std::string& path :
       {folder.path(), folder / "pipe", std::string("/dev/zero"), std::string("/proc/self/status")})
    EXPECT_THAT(refusal([&] { read_content(path); }), StartsWith(path + ": "));
}

TEST(ReadContent, AFileBeyondTheLimitIsRefusedBeforeItIsRead) {
  const TemporaryDirectory folder;
  write_text(folder / "large", "");
  std::filesystem::resize_file(folder / "large", std::uint64_t{1} << 40);  // a hole: no disk is used
  EXPECT_THAT(refusal([&] { read_content(folder / "large"); }),
              HasSubstr("expected at most 8589934592 bytes"));
}

TEST(ReadContent, ZerosAfterTheLastMemberArePadding) {
  const TemporaryDirectory folder;
  write_text(folder / "file", packed("one") + packed("two") + std::string(512, '\0'));
  EXPECT_EQ(text_of(read_content(folder / "file")), "onetwo");
  write_text(folder / "file", packed("one") + std::string(512, '\0') + "x");
  refusal([&] { read_content(folder / "file"); });
}

TEST(ReadContent, MinusIsStandardInputUpToTheLimit) {
  const TemporaryDirectory folder;
  const std::string content(3 << 20, 'x');
  write_text(folder / "input", content);
  const int saved = dup(STDIN_FILENO);
  const auto read_input = [&](std::uint64_t limit) {
    const int file = open((folder / "input").c_str(), O_RDONLY);
    dup2(file, STDIN_FILENO);
    close(file);
    return text_of(read_content("-", limit));
  };
  EXPECT_EQ(read_input(content_limit()), content);
  EXPECT_THAT(refusal([&] { read_input(1000); }), StartsWith("standard input: "));
  dup2(saved, STDIN_FILENO);
  close(saved);
}

TEST(ReadContent, AFaultAtAnyCallIsAnErrorAndShortReadsAreNone) {
  const TemporaryDirectory folder;
  write_text(folder / "file", "content");
  for (int call = 1; call <= 4; ++call) {  // open, look at, read, look whether more follows
    FailingFileOps failing(call, EIO);
    refusal([&] { read_content(folder / "file", content_limit(), failing); }, ErrorKind::kIo);
  }
  FailingFileOps slow(1, FailingFileOps::kShortCount, /*from_then_on=*/true);
  EXPECT_EQ(text_of(read_content(folder / "file", content_limit(), slow)), "content");
}

}  // namespace
}  // namespace tulle::testing

#include "tulle/data/gzip.h"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <memory>
#include <new>

#include "tulle/base/error.h"
#include "tulle/base/spill.h"

namespace tulle {
namespace {

constexpr std::uint64_t kMostInMemory = std::uint64_t{8} << 30;
constexpr std::size_t kChunk = std::size_t{1} << 20;
constexpr std::size_t kMaxPiece = std::size_t{1} << 30;  // zlib counts in 32 bits

Error too_large(const std::string& name, std::uint64_t limit) {
  return {ErrorKind::kBadData,
          {.file = name},
          fmt::format("size, found more, expected at most {} bytes{}", limit,
                      limit == kMostInMemory ? "; data.scratch lets files be larger" : "")};
}

Content read_file(const std::string& path, std::uint64_t limit, FileOps& files) {
  std::uint64_t size = 0;
  const FileHandle file = open_for_reading(files, path, &size);
  if (size > limit) throw too_large(path, limit);
  Content bytes(size);
  read_exactly(files, file, path, 0, bytes);
  // Files of /proc have no size and yet a content; a file that is still being written is no better.
  std::byte beyond{};
  const auto end = static_cast<off_t>(size);
  const ssize_t got = uninterrupted([&] { return files.pread(file.get(), &beyond, 1, end); });
  if (got < 0) throw system_error(errno, path, "read");
  if (got > 0)
    throw Error(
        ErrorKind::kBadData, {.file = path},
        fmt::format("size, found more than the {} bytes it should have, expected an ordinary file", size));
  return bytes;
}

Content read_standard_input(const std::string& name, std::uint64_t limit) {
  Content bytes;
  std::size_t done = 0;
  while (true) {
    bytes.resize(std::max(done + kChunk, done + done / 2));
    const ssize_t got =
        uninterrupted([&] { return read(STDIN_FILENO, bytes.data() + done, bytes.size() - done); });
    if (got < 0) throw system_error(errno, name, "read");
    done += static_cast<std::size_t>(got);
    if (done > limit) throw too_large(name, limit);
    if (got == 0) break;
  }
  bytes.resize(done);
  return bytes;
}

class Inflater {
 public:
  enum class Wrapper { kZlib = 0, kGzip = 16 };  // as zlib wants to be told; both have checksums

  Inflater(Content packed, const std::string& name, std::uint64_t limit, Wrapper wrapper)
      : packed_(std::move(packed)), name_(name), limit_(limit), wrapper_(wrapper) {
    if (inflateInit2(&stream_, 15 + static_cast<int>(wrapper)) != Z_OK) throw std::bad_alloc();
    stream_.next_in = reinterpret_cast<Bytef*>(packed_.data());
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  Content run() {
    while (true) {
      const int status = step();
      if (status == Z_STREAM_END) {
        if (left() == 0 || wrapper_ == Wrapper::kZlib || only_zeros_left()) break;
        inflateReset(&stream_);  // the next member
      } else if (status == Z_MEM_ERROR) {
        throw std::bad_alloc();
      } else if (status != Z_OK && status != Z_BUF_ERROR) {
        refuse(stream_.msg != nullptr ? stream_.msg : "broken data");
      } else if (left() == 0 && stream_.avail_out > 0) {
        refuse("an end in the middle");
      }
    }
    content_.resize(done_);
    return std::move(content_);
  }

 private:
  std::size_t left() const { return packed_.size() - consumed(); }
  std::size_t consumed() const {
    return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(stream_.next_in) - packed_.data());
  }

  // Tapes and block devices pad what is written to them.
  bool only_zeros_left() const {
    return std::all_of(packed_.begin() + static_cast<std::ptrdiff_t>(consumed()), packed_.end(),
                       [](std::byte byte) { return byte == std::byte{0}; });
  }

  // One call of inflate() into room that is there or is made.
  int step() {
    if (done_ == content_.size()) {
      const std::uint64_t wanted = std::max({content_.size() * 3 / 2, packed_.size() * 2, kChunk});
      content_.resize(std::min(wanted, limit_ + 1));
    }
    const std::size_t room = std::min(content_.size() - done_, kMaxPiece);
    stream_.avail_in = static_cast<uInt>(std::min(left(), kMaxPiece));
    stream_.next_out = reinterpret_cast<Bytef*>(content_.data() + done_);
    stream_.avail_out = static_cast<uInt>(room);
    const int status = inflate(&stream_, Z_NO_FLUSH);
    done_ += room - stream_.avail_out;
    if (done_ > limit_) refuse("more");
    return status;
  }

  [[noreturn]] void refuse(std::string_view found) const {
    throw Error(ErrorKind::kBadData, {.file = name_, .offset = static_cast<std::int64_t>(consumed())},
                fmt::format("{} data, found {}, expected whole members of at most {} bytes",
                            wrapper_ == Wrapper::kGzip ? "gzip" : "zlib", found, limit_));
  }

  Content packed_;
  const std::string& name_;
  std::uint64_t limit_;
  Wrapper wrapper_;
  z_stream stream_{};
  Content content_;
  std::size_t done_ = 0;
};

}  // namespace

std::uint64_t content_limit() {
  return spilling() ? std::numeric_limits<std::int64_t>::max() : kMostInMemory;
}

Content read_content(const std::string& path, std::uint64_t limit, FileOps& files) {
  const std::string name = path == "-" ? "standard input" : path;
  return unpack(path == "-" ? read_standard_input(name, limit) : read_file(path, limit, files), name, limit);
}

Content unpack(Content bytes, const std::string& name, std::uint64_t limit) {
  if (bytes.size() < 2 || bytes[0] != std::byte{0x1f} || bytes[1] != std::byte{0x8b}) return bytes;
  return Inflater(std::move(bytes), name, limit, Inflater::Wrapper::kGzip).run();
}

Content unpack_zlib(std::span<const std::byte> bytes, const std::string& name, std::uint64_t limit) {
  return Inflater({bytes.begin(), bytes.end()}, name, limit, Inflater::Wrapper::kZlib).run();
}

std::uint64_t checksum(std::span<const std::byte> bytes, std::uint64_t before) {
  const uLong crc = crc32_z(static_cast<uLong>(before & 0xffffffffu),
                            reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  return ((before >> 32) + bytes.size()) << 32 | crc;
}

}  // namespace tulle

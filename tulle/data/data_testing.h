#pragma once

// For tests only: bytes, packed files, refusals, and the real files in ../shared/data.

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/data/gzip.h"

namespace tulle::testing {

inline Content bytes_of(std::string_view text) {
  const auto* const first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// One gzip member.
inline std::string packed(std::string_view text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// The head of an IDX file: type, sizes.
inline std::string idx_head(std::uint8_t type, const std::vector<std::uint32_t>& sizes) {
  std::string head{'\0', '\0', static_cast<char>(type), static_cast<char>(sizes.size())};
  for (const std::uint32_t size : sizes)
    for (const int shift : {24, 16, 8, 0}) head += static_cast<char>(size >> shift & 0xff);
  return head;
}

/// The message `call` is refused with; a failure if it is not refused, or in another way.
template <class Call>
std::string refusal(Call call, ErrorKind kind = ErrorKind::kBadData) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "not a tulle::Error: " << error.what();
    return "";
  }
  ADD_FAILURE() << "not refused";
  return "";
}

/// The folder of real files: TULLE_DATA, or ../shared/data beside the repository.
inline std::filesystem::path data_folder() {
  if (const char* const given = std::getenv("TULLE_DATA")) return given;
  return std::filesystem::path(__FILE__).parent_path() / "../../../shared/data";
}

/// Tests on real files are skipped where the files are not, but not on the machines that have to run them
/// (CI).
class RealFiles : public ::testing::Test {
 protected:
  void SetUp() override { need(data_folder()); }

  void need(const std::filesystem::path& place) {
    if (std::filesystem::exists(place)) return;
    if (std::getenv("CI") != nullptr) FAIL() << place << " must be there in CI";
    GTEST_SKIP() << place << " is not there";
  }
  static std::string file(const std::string& name) { return (data_folder() / name).string(); }
};

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace tulle::testing

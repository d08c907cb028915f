#include "tulle/sparse/selection.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"

namespace tulle {
namespace {

// Bits of a magnitude are ordered like the magnitudes, NaN above infinity. They are found digit by digit, the
// highest first: each pass counts the digit of the entries whose higher digits are those found so far.
struct Digit {
  int shift, bits;
};
constexpr Digit kMagnitudeDigits[] = {{20, 11}, {10, 10}, {0, 10}};  // of the 31 bits without the sign

constexpr std::int64_t kSerialBelow = 1 << 14;

std::uint32_t magnitude(float value) { return std::bit_cast<std::uint32_t>(value) & 0x7fffffffu; }

// The search for one sign's threshold.
struct Search {
  std::uint32_t found = 0;                  // the threshold's digits so far, lower ones 0
  std::int64_t missing = 0;                 // how many of the entries with these digits are to be marked
  std::array<std::int64_t, 2048> counts{};  // of all entries

  void take_digit(const Digit& digit) {
    std::size_t d = 0;
    while (d < counts.size() && missing > counts[d]) missing -= counts[d++];
    require(d < counts.size() && missing >= 0,
            "mark_weakest_of_each_sign: more entries wanted than there are");
    found |= static_cast<std::uint32_t>(d) << digit.shift;
  }
};

}  // namespace

void mark_weakest_of_each_sign(std::span<const float> values, std::int64_t negative_count,
                               std::int64_t other_count, std::span<std::uint8_t> marks,
                               const RowShare& share) {
  require(marks.size() == values.size(), "mark_weakest_of_each_sign: one mark per value");
  Search search[2];  // of the others, of the negative ones
  search[0].missing = other_count;
  search[1].missing = negative_count;
  std::uint32_t higher = 0;  // bits of the digits found
  const std::int64_t size = std::ssize(values);
  const int parts = size < kSerialBelow ? 1 : thread_count();
  std::vector<std::array<std::array<std::int64_t, 2048>, 2>> counts(static_cast<std::size_t>(parts));
  for (const Digit& digit : kMagnitudeDigits) {
    const std::uint32_t mask = (1u << digit.bits) - 1;
    const std::uint32_t found[2] = {search[0].found, search[1].found};
    parallel_parts(parts, [&](int part) {
      std::array<std::array<std::int64_t, 2048>, 2>& own = counts[static_cast<std::size_t>(part)];
      for (auto& count : own) count.fill(0);
      const Range range = even_range(size, parts, part);
      for (std::int64_t k = range.begin; k < range.end; ++k) {
        const float value = values[static_cast<std::size_t>(k)];
        const std::uint32_t bits = magnitude(value);
        const std::size_t sign = is_negative(value) ? 1 : 0;
        own[sign][bits >> digit.shift & mask] += (bits & higher) == found[sign] ? 1 : 0;
      }
    });
    for (std::size_t sign = 0; sign < 2; ++sign) {
      search[sign].counts.fill(0);
      for (const auto& own : counts)
        for (std::size_t d = 0; d < 2048; ++d) search[sign].counts[d] += own[sign][d];
      share.sum(search[sign].counts);
    }
    for (Search& s : search)
      if (s.missing != 0) s.take_digit(digit);
    higher |= mask << digit.shift;
  }
  // Below the threshold everything goes: no branch, which ones cannot be foreseen.
  const std::uint32_t found_other = search[0].found, found_negative = search[1].found;
  parallel_parts(parts, [&](int part) {
    const Range range = even_range(size, parts, part);
    for (auto k = static_cast<std::size_t>(range.begin); k < static_cast<std::size_t>(range.end); ++k) {
      const std::uint32_t found = is_negative(values[k]) ? found_negative : found_other;
      marks[k] = static_cast<std::uint8_t>(marks[k] | (magnitude(values[k]) < found ? 1 : 0));
    }
  });
  // What is left in `missing` are entries equal to the threshold: the first ones go, those of earlier rows
  // before these.
  for (std::size_t sign = 0; sign < 2 && share.comm != nullptr; ++sign) {
    Search& s = search[sign];
    const auto equal = std::ranges::count_if(values, [&](float value) {
      return magnitude(value) == s.found && is_negative(value) == (sign == 1);
    });
    s.missing = std::max<std::int64_t>(s.missing - share.before(equal), 0);
  }
  for (std::size_t k = 0; k < values.size() && search[0].missing + search[1].missing > 0; ++k) {
    Search& s = search[is_negative(values[k]) ? 1 : 0];
    if (magnitude(values[k]) != s.found || s.missing == 0) continue;
    --s.missing;
    marks[k] = 1;
  }
}

}  // namespace tulle

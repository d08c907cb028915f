#include "tulle/sparse/pattern_change.h"

#include "tulle/base/check.h"

namespace tulle {
namespace {

// Walks both patterns in the order of keys: only_from(place, key), only_to(place, key), both(place, place).
template <class OnlyFrom, class OnlyTo, class Both>
void merge(const Topology& from, const Topology& to, const OnlyFrom& only_from, const OnlyTo& only_to,
           const Both& both) {
  require(from.rows() == to.rows() && from.cols() == to.cols(), "patterns must be of the same shape");
  std::size_t i = 0, j = 0;
  for (std::int32_t row = 0; row < from.rows(); ++row) {
    const auto end = [row](const Topology& t) {
      return static_cast<std::size_t>(t.row_ptr()[static_cast<std::size_t>(row) + 1]);
    };
    const auto key = [&](std::int32_t column) {
      return static_cast<std::uint64_t>(row) * static_cast<std::uint64_t>(from.cols()) +
             static_cast<std::uint64_t>(column);
    };
    while (i < end(from) || j < end(to)) {
      const bool has_from = i < end(from), has_to = j < end(to);
      const std::int32_t a = has_from ? from.columns()[i] : 0, b = has_to ? to.columns()[j] : 0;
      if (has_from && (!has_to || a < b)) {
        only_from(i++, key(a));
      } else if (has_to && (!has_from || b < a)) {
        only_to(j++, key(b));
      } else {
        both(i++, j++);
      }
    }
  }
}

constexpr auto kNothing = [](auto, auto) {};

}  // namespace

std::vector<float> retain_valid(const Topology& from, std::span<const float> values, const Topology& to) {
  require(std::ssize(values) == from.nnz(), "retain_valid: one value per connection");
  std::vector<float> retained(static_cast<std::size_t>(to.nnz()), 0.0f);
  merge(from, to, kNothing, kNothing, [&](std::size_t i, std::size_t j) { retained[j] = values[i]; });
  return retained;
}

std::vector<std::byte> pattern_change(const Topology& from, const Topology& to) {
  std::vector<std::byte> change((static_cast<std::size_t>(from.nnz()) + 7) / 8);
  std::uint64_t next = 0;  // the smallest key that may follow
  std::vector<std::byte> grown;
  merge(
      from, to, kNothing,
      [&](std::size_t, std::uint64_t key) {
        std::uint64_t gap = key - next;
        next = key + 1;
        for (; gap >= 0x80; gap >>= 7) grown.push_back(static_cast<std::byte>((gap & 0x7f) | 0x80));
        grown.push_back(static_cast<std::byte>(gap));
      },
      [&](std::size_t i, std::size_t) { change[i / 8] |= std::byte{1} << (i % 8); });
  change.insert(change.end(), grown.begin(), grown.end());
  return change;
}

Topology changed_pattern(const Topology& from, std::span<const std::byte> change) {
  const std::size_t mask = (static_cast<std::size_t>(from.nnz()) + 7) / 8;
  require(change.size() >= mask, "changed_pattern: too short for this pattern");
  std::vector<std::uint64_t> grown;
  std::uint64_t next = 0;
  for (std::size_t at = mask; at < change.size();) {
    std::uint64_t gap = 0;
    for (int shift = 0;; shift += 7) {
      require(at < change.size() && shift < 63, "changed_pattern: cut off");
      const auto bits = static_cast<std::uint64_t>(change[at++]);
      gap |= (bits & 0x7f) << shift;
      if (bits < 0x80) break;
    }
    grown.push_back(next + gap);
    next = grown.back() + 1;
  }
  std::vector<std::uint64_t> keys;
  keys.reserve(static_cast<std::size_t>(from.nnz()) + grown.size());
  std::size_t place = 0;
  const std::vector<std::uint64_t> old = from.keys();
  auto new_key = grown.begin();
  for (; place < old.size(); ++place) {
    if ((change[place / 8] >> (place % 8) & std::byte{1}) == std::byte{0}) continue;
    for (; new_key != grown.end() && *new_key < old[place]; ++new_key) keys.push_back(*new_key);
    keys.push_back(old[place]);
  }
  keys.insert(keys.end(), new_key, grown.end());
  return Topology::from_keys(from.rows(), from.cols(), keys);
}

}  // namespace tulle

#include "tulle/sparse/pattern_change.h"

#include <algorithm>
#include <cstring>

#include "tulle/base/check.h"

namespace tulle {
namespace {

// Walks both patterns in the order of keys: only_from(place, key), only_to(place, key), both(place, place,
// key).
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
        both(i++, j++, key(a));
      }
    }
  }
}

constexpr auto kNothing = [](auto, auto) {};

// A change is its form, a bit for each connection that there was, 1 if it stays, and what says which grew.
enum class Form : std::uint8_t { kListed, kDrawn };

// kDrawn: of the event, and how many it drew.
struct Drawn {
  std::uint64_t event = 0;
  std::int64_t count = 0;
};

std::size_t mask_bytes(const Topology& from) { return (static_cast<std::size_t>(from.nnz()) + 7) / 8; }

std::vector<std::byte> begun(Form form, const Topology& from) {
  std::vector<std::byte> change(1 + mask_bytes(from));
  change[0] = static_cast<std::byte>(form);
  return change;
}

void keep(std::vector<std::byte>& change, std::size_t place) {
  change[1 + place / 8] |= std::byte{1} << (place % 8);
}

std::vector<std::uint64_t> drawn_cells(const Topology& shape, std::span<const std::uint64_t> kept,
                                       const Drawn& drawn, CellDraw draw) {
  draw.key.event = static_cast<std::uint32_t>(drawn.event);
  return windowed_absent_cells(Topology::from_keys(shape.rows(), shape.cols(), kept), drawn.count, draw.law,
                               draw.key);
}

std::vector<std::uint64_t> listed_cells(std::span<const std::byte> bytes) {
  std::vector<std::uint64_t> cells;
  std::uint64_t next = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t gap = 0;
    for (int shift = 0;; shift += 7) {
      require(at < bytes.size() && shift < 63, "changed_pattern: cut off");
      const auto bits = static_cast<std::uint64_t>(bytes[at++]);
      gap |= (bits & 0x7f) << shift;
      if (bits < 0x80) break;
    }
    cells.push_back(next + gap);
    next = cells.back() + 1;
  }
  return cells;
}

}  // namespace

std::vector<float> retain_valid(const Topology& from, std::span<const float> values, const Topology& to) {
  require(std::ssize(values) == from.nnz(), "retain_valid: one value per connection");
  std::vector<float> retained(static_cast<std::size_t>(to.nnz()), 0.0f);
  merge(from, to, kNothing, kNothing,
        [&](std::size_t i, std::size_t j, std::uint64_t) { retained[j] = values[i]; });
  return retained;
}

std::vector<std::byte> pattern_change(const Topology& from, const Topology& to) {
  std::vector<std::byte> change = begun(Form::kListed, from);
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
      [&](std::size_t i, std::size_t, std::uint64_t) { keep(change, i); });
  change.insert(change.end(), grown.begin(), grown.end());
  return change;
}

std::vector<std::byte> pattern_change(const Topology& from, const Topology& to,
                                      std::span<const std::uint64_t> grown, const CellDraw& draw) {
  std::vector<std::byte> change = begun(Form::kDrawn, from);
  std::vector<std::uint64_t> kept;
  auto next = grown.begin();
  merge(from, to, kNothing, kNothing, [&](std::size_t i, std::size_t, std::uint64_t key) {
    while (next != grown.end() && *next < key) ++next;
    if (next != grown.end() && *next == key) return;  // dropped, and grown again
    keep(change, i);
    kept.push_back(key);
  });
  const Drawn drawn{draw.key.event, std::ssize(grown)};
  const std::span<const std::byte> told = std::as_bytes(std::span(&drawn, 1));
  change.insert(change.end(), told.begin(), told.end());
  const bool same = std::ranges::equal(drawn_cells(from, kept, drawn, draw), grown) &&
                    to.nnz() == std::ssize(kept) + std::ssize(grown);
  return same ? change : pattern_change(from, to);
}

Topology changed_pattern(const Topology& from, std::span<const std::byte> change, const CellDraw& draw) {
  const std::size_t mask = mask_bytes(from);
  require(change.size() >= 1 + mask, "changed_pattern: too short for this pattern");
  const auto form = static_cast<Form>(change[0]);
  const std::span<const std::byte> marks = change.subspan(1, mask), rest = change.subspan(1 + mask);
  std::vector<std::uint64_t> kept = from.keys();
  std::size_t place = 0;
  std::erase_if(kept, [&](std::uint64_t) {
    const std::size_t i = place++;
    return (marks[i / 8] >> (i % 8) & std::byte{1}) == std::byte{0};
  });
  std::vector<std::uint64_t> grown;
  if (form == Form::kDrawn) {
    Drawn drawn;
    require(rest.size() == sizeof drawn, "changed_pattern: cut off");
    std::memcpy(&drawn, rest.data(), sizeof drawn);
    grown = drawn_cells(from, kept, drawn, draw);
  } else {
    require(form == Form::kListed, "changed_pattern: no change of a pattern");
    grown = listed_cells(rest);
  }
  std::vector<std::uint64_t> keys(kept.size() + grown.size());
  std::ranges::merge(kept, grown, keys.begin());
  return Topology::from_keys(from.rows(), from.cols(), keys);
}

}  // namespace tulle

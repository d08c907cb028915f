#include "tulle/sparse/sampling.h"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <numeric>
#include <queue>
#include <utility>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"

namespace tulle {
namespace {

constexpr std::uint64_t kStoredBelow = std::uint64_t{1} << 16;

// Half-open, of keys.
struct KeyRange {
  std::uint64_t begin, end;
};

// The sorted keys of [0, n) that `sorted` lacks.
std::vector<std::uint64_t> complement(std::span<const std::uint64_t> sorted, std::uint64_t n) {
  std::vector<std::uint64_t> rest;
  rest.reserve(n - sorted.size());
  std::uint64_t next = 0;
  for (const std::uint64_t key : sorted) {
    for (; next < key; ++next) rest.push_back(next);
    next = key + 1;
  }
  for (; next < n; ++next) rest.push_back(next);
  return rest;
}

// Floyd's choice of `fan_in` of `cols` sources, one draw each, into `chosen`, sorted.
void choose(const std::uint64_t* draws, std::int32_t cols, std::int32_t fan_in, std::int32_t* chosen) {
  std::int32_t* end = chosen;
  for (std::int32_t last = cols - fan_in; last < cols; ++last) {
    auto source = static_cast<std::int32_t>(Random::scaled(*draws++, static_cast<std::uint64_t>(last) + 1));
    std::int32_t* slot = std::lower_bound(chosen, end, source);
    if (slot != end && *slot == source) {  // taken: Floyd's step takes `last`, which cannot be
      source = last;
      slot = end;
    }
    std::copy_backward(slot, end, end + 1);
    *slot = source;
    ++end;
  }
}

constexpr RepairInfo kRepairs[] = {
    {"none", "neurons without connections stay so", Repair::kNone},
    {"in", "every target has an input", Repair::kIn},
    {"out", "every source has an output", Repair::kOut},
    {"both", "both", Repair::kBoth},
};

struct Link {
  std::int32_t target, source;
};

// Moves links between the neurons on one of their ends, `end`, until none is without.
void repair_end(std::vector<Link>& links, std::int32_t neurons, std::int32_t Link::*end, const Random& key) {
  std::vector<std::vector<std::size_t>> of_neuron(static_cast<std::size_t>(neurons));
  for (std::size_t k = 0; k < links.size(); ++k)
    of_neuron[static_cast<std::size_t>(links[k].*end)].push_back(k);
  std::priority_queue<std::pair<std::size_t, std::int32_t>> richest;  // degree, minus the number
  for (std::int32_t n = 0; n < neurons; ++n)
    richest.emplace(of_neuron[static_cast<std::size_t>(n)].size(), -n);
  std::uint64_t draws = 0;
  for (std::int32_t n = 0; n < neurons; ++n) {
    if (!of_neuron[static_cast<std::size_t>(n)].empty()) continue;
    const auto [degree, giver] = richest.top();
    if (degree < 2) return;  // nobody has one to spare
    richest.pop();
    std::vector<std::size_t>& own = of_neuron[static_cast<std::size_t>(-giver)];
    std::size_t& given = own[key.below(own.size(), draws++)];
    links[given].*end = n;
    given = own.back();
    own.pop_back();
    richest.emplace(own.size(), giver);
  }
}

// Those of the images of first, ..., first + count - 1 that lie in `own`, in their order, counted from its
// begin.
template <class Keys>
Keys images_in(const Bijection& bijection, std::uint64_t first, std::uint64_t count, KeyRange own) {
  Keys inside;
  if (own.begin == 0 && own.end == bijection.size()) {
    inside.resize(count);
    bijection.images(first, inside);
    return inside;
  }
  constexpr std::uint64_t kTogether = 1 << 18;
  RawVector<std::uint64_t> images;
  for (std::uint64_t done = 0; done < count; done += images.size()) {
    images.resize(std::min(count - done, kTogether));
    bijection.images(first + done, images);
    for (const std::uint64_t image : images)
      if (own.begin <= image && image < own.end) inside.push_back(image - own.begin);
  }
  return inside;
}

// m of [0, n), drawn without replacement: those in `own`, sorted and counted from its begin.
RawVector<std::uint64_t> sample_in(std::uint64_t n, std::uint64_t m, const Random& key, KeyRange own) {
  auto sample = images_in<RawVector<std::uint64_t>>(Bijection(n, key), 0, m, own);
  sort_keys(sample, own.end - own.begin);
  return sample;
}

}  // namespace

Bijection::Bijection(std::uint64_t n, const Random& key) : n_(n) {
  if (n < kStoredBelow) {
    shuffled_ = random_permutation(static_cast<std::uint32_t>(n), key);
    return;
  }
  const auto bits = static_cast<int>(std::bit_width(n - 1));
  network_ = {.left_bits = bits / 2, .right_bits = bits - bits / 2};
  for (std::size_t round = 0; round < network_.keys.size(); ++round)
    network_.keys[round] = key.words(round)[0];
}

std::uint64_t Bijection::operator()(std::uint64_t i) const {
  if (!shuffled_.empty()) return shuffled_[i];
  do kernels::feistel(network_, &i, 1);  // cycle walking: outside [0, n) the image is mapped on
  while (i >= n_);
  return i;
}

void Bijection::images(std::uint64_t first, std::span<std::uint64_t> out) const {
  if (!shuffled_.empty()) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = shuffled_[first + i];
    return;
  }
  constexpr std::int64_t kTogether = 1 << 10;
  parallel_ranges(std::ssize(out), kTogether, [&](Range range) {
    std::vector<std::uint64_t> outside;  // images that have to be walked on
    std::vector<std::size_t> places;     // of which entries
    outside.reserve(kTogether);
    places.reserve(kTogether);
    for (std::int64_t at = range.begin; at < range.end; at += kTogether) {
      const auto begin = static_cast<std::size_t>(at);
      const auto count = static_cast<std::size_t>(std::min(kTogether, range.end - at));
      std::iota(out.begin() + at, out.begin() + at + static_cast<std::ptrdiff_t>(count), first + begin);
      kernels::feistel(network_, out.data() + begin, static_cast<std::int64_t>(count));
      places.clear();
      for (std::size_t i = begin; i < begin + count; ++i)
        if (out[i] >= n_) places.push_back(i);
      while (!places.empty()) {
        outside.resize(places.size());
        for (std::size_t i = 0; i < places.size(); ++i) outside[i] = out[places[i]];
        kernels::feistel(network_, outside.data(), std::ssize(outside));
        std::size_t left = 0;
        for (std::size_t i = 0; i < outside.size(); ++i) {
          out[places[i]] = outside[i];
          if (outside[i] >= n_) places[left++] = places[i];
        }
        places.resize(left);
      }
    }
  });
}

namespace {

// Keys in order, of which only the lowest `bits` bits differ, into `sorted`: by the highest digit of these,
// so long that few are left together.
void sort_into(std::span<const std::uint64_t> keys, std::span<std::uint64_t> sorted, int bits) {
  constexpr int kMost = 11;
  constexpr std::size_t kFew = 16;
  const int digits = std::min({bits, kMost, static_cast<int>(std::bit_width(keys.size()))});
  const int shift = bits - digits;
  const std::uint64_t mask = (std::uint64_t{1} << digits) - 1;
  std::array<std::uint32_t, (std::size_t{1} << kMost) + 1> start;
  std::fill_n(start.begin(), mask + 2, 0u);
  for (const std::uint64_t key : keys) ++start[(key >> shift & mask) + 1];
  std::partial_sum(start.begin(), start.begin() + static_cast<std::ptrdiff_t>(mask + 2), start.begin());
  for (const std::uint64_t key : keys) sorted[start[key >> shift & mask]++] = key;
  if (shift == 0) return;
  // Each group now begins where the one before it ends.
  for (std::size_t d = 0, begin = 0; d <= mask; begin = start[d++]) {
    const auto group = sorted.subspan(begin, start[d] - begin);
    if (group.size() > kFew) {
      std::ranges::sort(group);
      continue;
    }
    for (std::size_t i = 1; i < group.size(); ++i) {
      const std::uint64_t key = group[i];
      std::size_t place = i;
      for (; place > 0 && group[place - 1] > key; --place) group[place] = group[place - 1];
      group[place] = key;
    }
  }
}

}  // namespace

// First into buckets by the highest digit, in memory; each bucket then is sorted in a cache.
void sort_keys(std::span<std::uint64_t> keys, std::uint64_t limit) {
  constexpr int kDigit = 11;
  constexpr std::size_t kDigits = std::size_t{1} << kDigit, kFew = std::size_t{1} << 15;
  const int bits = static_cast<int>(std::bit_width(limit));
  RawVector<std::uint64_t> other(keys.size());
  if (keys.size() < kFew || bits <= kDigit) {
    std::ranges::copy(keys, other.begin());
    return sort_into(other, keys, bits);
  }
  const int shift = bits - kDigit;
  const auto digit = [&](std::uint64_t key) { return key >> shift; };
  const int parts = thread_count();
  const auto range_of = [&](int part) {
    const Range range = even_range(std::ssize(keys), parts, part);
    return keys.subspan(static_cast<std::size_t>(range.begin),
                        static_cast<std::size_t>(range.end - range.begin));
  };
  std::vector<std::array<std::size_t, kDigits>> place(static_cast<std::size_t>(parts));
  parallel_parts(parts, [&](int part) {
    auto& count = place[static_cast<std::size_t>(part)];
    count.fill(0);
    for (const std::uint64_t key : range_of(part)) ++count[digit(key)];
  });
  std::vector<std::int64_t> start(kDigits + 1, 0);
  for (std::size_t d = 0; d < kDigits; ++d) {
    start[d + 1] = start[d];
    for (auto& count : place)
      start[d + 1] +=
          static_cast<std::int64_t>(std::exchange(count[d], static_cast<std::size_t>(start[d + 1])));
  }
  parallel_parts(parts, [&](int part) {
    auto& next = place[static_cast<std::size_t>(part)];
    for (const std::uint64_t key : range_of(part)) other[next[digit(key)]++] = key;
  });
  const std::vector<std::int64_t> buckets = balanced_rows(start, parts);
  parallel_parts(parts, [&](int part) {
    for (auto d = static_cast<std::size_t>(buckets[static_cast<std::size_t>(part)]);
         d < static_cast<std::size_t>(buckets[static_cast<std::size_t>(part) + 1]); ++d) {
      const auto first = static_cast<std::size_t>(start[d]),
                 count = static_cast<std::size_t>(start[d + 1]) - first;
      sort_into(std::span(other).subspan(first, count), keys.subspan(first, count), shift);
    }
  });
}

namespace {

// The same within cells[begin, end): leaves what is absent from `begin` on and returns its end.
std::size_t strike_out(const Topology& topology, std::span<std::uint64_t> cells) {
  const auto width = static_cast<std::uint64_t>(topology.cols());
  std::size_t absent = 0;
  for (std::size_t i = 0; i < cells.size();) {
    const std::uint64_t row = cells[i] / width, row_start = row * width;
    const auto sources = topology.row(static_cast<std::int32_t>(row));
    auto next = sources.begin();
    for (; i < cells.size() && cells[i] < row_start + width; ++i) {
      const auto column = static_cast<std::int32_t>(cells[i] - row_start);
      while (next != sources.end() && *next < column) ++next;
      if (next == sources.end() || *next != column) cells[absent++] = cells[i];
    }
  }
  return absent;
}

}  // namespace

void strike_out_existing(const Topology& topology, std::vector<std::uint64_t>& cells) {
  const int parts = cells.size() < (std::size_t{1} << 14) ? 1 : thread_count();
  std::vector<std::size_t> absent(static_cast<std::size_t>(parts));
  const auto begin_of = [&](int part) { return even_range(std::ssize(cells), parts, part).begin; };
  parallel_parts(parts, [&](int part) {
    const auto begin = static_cast<std::size_t>(begin_of(part)),
               end = static_cast<std::size_t>(begin_of(part + 1));
    absent[static_cast<std::size_t>(part)] =
        strike_out(topology, std::span(cells).subspan(begin, end - begin));
  });
  std::size_t left = absent[0];
  for (int part = 1; part < parts; ++part) {
    const auto from = cells.begin() + begin_of(part);
    std::copy_n(from, absent[static_cast<std::size_t>(part)],
                cells.begin() + static_cast<std::ptrdiff_t>(left));
    left += absent[static_cast<std::size_t>(part)];
  }
  cells.resize(left);
}

Topology random_topology(std::int32_t rows, std::int32_t cols, std::int64_t m, const Random& key) {
  const std::uint64_t cells = static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols);
  const auto wanted = static_cast<std::uint64_t>(m);
  require(m >= 0 && wanted <= cells, "random_topology: more connections than cells");
  if (wanted == cells) return full_topology(rows, cols);
  if (wanted <= cells / 2) return Topology::from_keys(rows, cols, sample_in(cells, wanted, key, {0, cells}));
  return Topology::from_keys(rows, cols,
                             complement(sample_in(cells, cells - wanted, key, {0, cells}), cells));
}

std::span<const RepairInfo> repairs() { return kRepairs; }

Topology repair_isolated(Topology topology, Repair repair, const Random& key) {
  if (repair == Repair::kNone) return topology;
  std::vector<Link> links;
  for (std::int32_t target = 0; target < topology.rows(); ++target)
    for (const std::int32_t source : topology.row(target)) links.push_back({target, source});
  Random moves = key;
  moves.event = key.event + 1;  // apart from what drew the topology
  if (repair != Repair::kOut) repair_end(links, topology.rows(), &Link::target, moves);
  moves.event = key.event + 2;
  if (repair != Repair::kIn) repair_end(links, topology.cols(), &Link::source, moves);
  std::vector<std::uint64_t> keys;
  for (const Link& link : links)
    keys.push_back(static_cast<std::uint64_t>(link.target) * static_cast<std::uint64_t>(topology.cols()) +
                   static_cast<std::uint64_t>(link.source));
  sort_keys(keys, topology.cells());
  return Topology::from_keys(topology.rows(), topology.cols(), keys);
}

Topology fixed_fan_in_topology(std::int32_t rows, std::int32_t cols, std::int32_t fan_in, const Random& key) {
  require(fan_in >= 0 && fan_in <= cols, "fixed_fan_in_topology: fan_in exceeds the number of sources");
  RawVector<std::int64_t> row_ptr(static_cast<std::size_t>(rows) + 1);
  RawVector<std::int32_t> columns(static_cast<std::size_t>(rows) * static_cast<std::size_t>(fan_in));
  row_ptr[0] = 0;
  constexpr std::int64_t kGrain = 1 << 10;
  const std::int64_t group = std::max<std::int64_t>(kGrain / std::max(fan_in, 1), 1);  // rows drawn at once
  parallel_ranges(rows, kGrain, [&](Range range) {
    std::vector<std::uint64_t> places, draws(static_cast<std::size_t>(group * fan_in));
    for (std::int64_t first = range.begin; first < range.end; first += group) {
      const std::int64_t end = std::min(first + group, range.end);
      places.clear();
      for (std::int64_t r = first; r < end; ++r)
        for (std::int64_t last = cols - fan_in; last < cols; ++last)
          places.push_back(static_cast<std::uint64_t>(r * cols + last));
      kernels::draw_bits(key, places.data(), std::ssize(places), draws.data());
      const std::uint64_t* draw = draws.data();
      for (std::int64_t r = first; r < end; ++r, draw += fan_in) {
        choose(draw, cols, fan_in, columns.data() + r * fan_in);
        row_ptr[static_cast<std::size_t>(r) + 1] = (r + 1) * fan_in;
      }
    }
  });
  return Topology(rows, cols, std::move(row_ptr), std::move(columns));
}

Topology full_topology(std::int32_t rows, std::int32_t cols) {
  RawVector<std::int64_t> row_ptr(static_cast<std::size_t>(rows) + 1);
  RawVector<std::int32_t> columns(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols));
  for (std::size_t r = 0; r < row_ptr.size(); ++r) row_ptr[r] = static_cast<std::int64_t>(r) * cols;
  for (std::int32_t r = 0; r < rows; ++r)
    std::iota(columns.begin() + row_ptr[static_cast<std::size_t>(r)],
              columns.begin() + row_ptr[static_cast<std::size_t>(r) + 1], 0);
  return Topology(rows, cols, std::move(row_ptr), std::move(columns));
}

CellPart all_cells(const Topology& topology, const RowShare& share) {
  return {.cells = share.cells(topology),
          .taken = static_cast<std::uint64_t>(share.sum(topology.nnz())),
          .share = share};
}

std::vector<std::uint64_t> absent_cells(const Topology& topology, const CellPart& part, std::int64_t count,
                                        std::span<const std::uint64_t> others, const Random& key) {
  const std::uint64_t taken = part.taken + others.size(), absent = part.cells - taken;
  const std::uint64_t wanted = std::min(static_cast<std::uint64_t>(std::max<std::int64_t>(count, 0)), absent);
  // Leaves of the part's cells with these numbers those that are absent, as sorted keys.
  const auto keep_absent = [&](std::vector<std::uint64_t>& cells) {
    if (part.to_keys) part.to_keys(cells);
    sort_keys(cells, topology.cells());
    strike_out_existing(topology, cells);
    if (others.empty()) return;
    std::vector<std::uint64_t> left;
    left.reserve(cells.size());
    std::ranges::set_difference(cells, others, std::back_inserter(left));
    cells = std::move(left);
  };
  std::vector<std::uint64_t> chosen;
  if (wanted == 0) return chosen;
  const std::uint64_t first = part.share.first_key(topology);
  const KeyRange own{first, part.share.comm == nullptr ? part.cells : first + topology.cells()};
  if (taken > part.cells / 2) {  // rejection would take long: list what is absent, at most `taken` cells
    std::vector<std::uint64_t> candidates(own.end - own.begin);
    std::iota(candidates.begin(), candidates.end(), std::uint64_t{0});
    keep_absent(candidates);
    const auto before = static_cast<std::uint64_t>(part.share.before(std::ssize(candidates)));
    for (const std::uint64_t i : sample_in(absent, wanted, key, {before, before + candidates.size()}))
      chosen.push_back(candidates[i]);
    return chosen;
  }
  // The first `wanted` absent cells of the drawn sequence: as many draws as are missing, then those that
  // exist are struck out in one walk over both sorted lists, and again.
  const Bijection bijection(part.cells, key);
  std::uint64_t drawn = 0;
  for (std::uint64_t missing = wanted; missing > 0;) {
    auto draws = images_in<std::vector<std::uint64_t>>(bijection, drawn, missing, own);
    drawn += missing;
    keep_absent(draws);
    missing -= static_cast<std::uint64_t>(part.share.sum(std::ssize(draws)));
    if (chosen.empty()) {
      chosen = std::move(draws);  // with room for all
      continue;
    }
    const auto middle = static_cast<std::ptrdiff_t>(chosen.size());
    chosen.insert(chosen.end(), draws.begin(), draws.end());
    std::inplace_merge(chosen.begin(), chosen.begin() + middle, chosen.end());
  }
  return chosen;
}

std::vector<std::uint64_t> random_absent_cells(const Topology& topology, std::int64_t count,
                                               const Random& key, const RowShare& share) {
  return absent_cells(topology, all_cells(topology, share), count, {}, key);
}

}  // namespace tulle

#include "tulle/evolve/renew_rows.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "tulle/base/half.h"
#include "tulle/base/parallel.h"

namespace tulle {
namespace {

constexpr std::int32_t kGrown = -1;

// How many of `count` connections go.
std::int64_t drops_of(const RowEvent& event, std::int64_t row, std::int64_t count) {
  const double wanted = event.zeta * static_cast<double>(count);
  const double draw = static_cast<double>(event.drops.uniform(static_cast<std::uint64_t>(row)));
  return std::min(count, static_cast<std::int64_t>(wanted + draw));
}

// One thread's row at a time, and its memory.
class Renewal {
 public:
  Renewal(Parameter& weight, const RowEvent& event, std::int32_t sources)
      : weight_(weight), event_(event), sources_(sources) {}

  // `columns`: of the row, whose first connection is `first`; what grows goes to `cells`. Returns how much of
  // it had just been dropped.
  std::int64_t renew(std::int64_t row, std::int64_t first, std::span<std::int32_t> columns,
                     std::span<std::uint64_t> cells) {
    old_.assign(columns.begin(), columns.end());
    keep_strongest(first, columns.size() - cells.size());
    draw(row, cells.size());
    std::int64_t regrown = 0;
    const std::uint64_t row_start = static_cast<std::uint64_t>(row) * static_cast<std::uint64_t>(sources_);
    // Both in order into one.
    from_.clear();
    std::size_t grown = 0;
    for (std::size_t kept = 0; kept < kept_.size() || grown < grown_.size();) {
      const auto column = [&](std::size_t k) { return old_[static_cast<std::size_t>(kept_[k])]; };
      const std::size_t place = from_.size();
      if (grown == grown_.size() || (kept < kept_.size() && column(kept) < grown_[grown])) {
        columns[place] = column(kept);
        from_.push_back(kept_[kept++]);
      } else {
        columns[place] = grown_[grown];
        cells[grown] = row_start + static_cast<std::uint64_t>(grown_[grown]);
        regrown += std::ranges::binary_search(old_, grown_[grown]) ? 1 : 0;
        ++grown;
        from_.push_back(kGrown);
      }
    }
    const auto start =
        [&, spread = event_.law->spread(event_.context, static_cast<std::int32_t>(row))](std::size_t place) {
          const std::uint64_t cell = row_start + static_cast<std::uint64_t>(columns[place]);
          return draw_weight(*event_.law, spread, event_.values, cell);
        };
    for (AlignedVector<float>* array : {&weight_.value, &weight_.average})
      carry(*array, first, floats_, start);
    carry(weight_.bf16_value, first, words_, [&](std::size_t place) { return float_to_bf16(start(place)); });
    const auto zero = [](std::size_t) { return 0; };
    for (AlignedVector<float>* array : {&weight_.gradient, &weight_.m1, &weight_.m2, &weight_.outer})
      carry(*array, first, floats_, zero);
    for (AlignedVector<std::uint16_t>* array : {&weight_.bf16_m1, &weight_.age})
      carry(*array, first, words_, zero);
    return regrown;
  }

 private:
  // Magnitudes are ordered as their bits are; NaN counts as more than infinity.
  std::uint32_t magnitude(std::int64_t connection) const {
    const auto k = static_cast<std::size_t>(connection);
    const float value = weight_.is_bf16() ? bf16_to_float(weight_.bf16_value[k]) : weight_.value[k];
    return std::bit_cast<std::uint32_t>(value) & 0x7fffffff;
  }

  void keep_strongest(std::int64_t first, std::size_t count) {
    kept_.resize(old_.size());
    std::iota(kept_.begin(), kept_.end(), 0);
    const auto end = kept_.begin() + static_cast<std::ptrdiff_t>(count);
    std::nth_element(kept_.begin(), end, kept_.end(), [&](std::int32_t a, std::int32_t b) {
      const std::uint32_t of_a = magnitude(first + a), of_b = magnitude(first + b);
      return of_a > of_b || (of_a == of_b && a > b);
    });
    kept_.erase(end, kept_.end());
    std::ranges::sort(kept_);
  }

  // `count` sources that no kept connection has, sorted.
  void draw(std::int64_t row, std::size_t count) {
    grown_.clear();
    taken_.clear();
    for (const std::int32_t place : kept_) taken_.push_back(old_[static_cast<std::size_t>(place)]);
    std::uint64_t place = static_cast<std::uint64_t>(row) << 32;
    if (2 * old_.size() > static_cast<std::size_t>(sources_)) {  // rejection would take long
      std::vector<std::int32_t> all(static_cast<std::size_t>(sources_)), absent;
      std::iota(all.begin(), all.end(), 0);
      std::ranges::set_difference(all, taken_, std::back_inserter(absent));
      for (std::size_t i = 0; i < count; ++i) {
        std::swap(absent[i], absent[i + event_.sources.below(absent.size() - i, place++)]);
        grown_.push_back(absent[i]);
      }
      std::ranges::sort(grown_);
      return;
    }
    while (grown_.size() < count) {
      const auto source =
          static_cast<std::int32_t>(event_.sources.below(static_cast<std::uint64_t>(sources_), place++));
      if (std::ranges::binary_search(taken_, source)) continue;
      const auto slot = std::ranges::lower_bound(grown_, source);
      if (slot == grown_.end() || *slot != source) grown_.insert(slot, source);
    }
  }

  template <class T, class Start>
  void carry(AlignedVector<T>& array, std::int64_t first, std::vector<T>& memory, const Start& start) {
    if (array.empty()) return;
    T* const values = array.data() + first;
    memory.assign(values, values + from_.size());
    for (std::size_t place = 0; place < from_.size(); ++place)
      values[place] = from_[place] == kGrown ? static_cast<T>(start(place))
                                             : memory[static_cast<std::size_t>(from_[place])];
  }

  Parameter& weight_;
  const RowEvent& event_;
  const std::int32_t sources_;
  std::vector<std::int32_t> old_, kept_, taken_, grown_;  // sources, places of old ones, sources
  std::vector<std::int32_t> from_;                        // of each place now: where it was
  std::vector<float> floats_;
  std::vector<std::uint16_t> words_;
};

}  // namespace

void renew_rows(SparseLayer& layer, const RowEvent& event, LayerEvolution& result) {
  layer.rewrite_columns([&](std::span<std::int32_t> columns) {
    const RowPtr& row_ptr = layer.topology()->row_ptr();
    const auto begin_of = [&](std::int64_t row) { return row_ptr[static_cast<std::size_t>(row)]; };
    const int parts = thread_count();
    const std::vector<std::int64_t> ranges = balanced_rows(row_ptr, parts);
    // Each thread's cells begin after those of the threads before it.
    std::vector<std::int64_t> cells(ranges.size(), 0), regrown(ranges.size(), 0);
    parallel_parts(parts, [&](int part) {
      const auto i = static_cast<std::size_t>(part);
      for (std::int64_t row = ranges[i]; row < ranges[i + 1]; ++row)
        cells[i + 1] += drops_of(event, row, begin_of(row + 1) - begin_of(row));
    });
    std::partial_sum(cells.begin(), cells.end(), cells.begin());
    result.grown_cells.resize(static_cast<std::size_t>(cells.back()));
    parallel_parts(parts, [&](int part) {
      const auto i = static_cast<std::size_t>(part);
      Renewal renewal(layer.weight(), event, layer.inputs());
      std::int64_t next = cells[i];
      for (std::int64_t row = ranges[i]; row < ranges[i + 1]; ++row) {
        const std::int64_t first = begin_of(row), count = begin_of(row + 1) - first;
        const std::int64_t drops = drops_of(event, row, count);
        if (drops > 0)
          regrown[i] += renewal.renew(
              row, first, columns.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
              std::span(result.grown_cells)
                  .subspan(static_cast<std::size_t>(next), static_cast<std::size_t>(drops)));
        next += drops;
      }
    });
    result.dropped = result.grown = cells.back();
    result.regrown = std::accumulate(regrown.begin(), regrown.end(), std::int64_t{0});
    result.after = result.before;
  });
}

}  // namespace tulle

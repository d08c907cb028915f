#include "tulle/sparse/weight_init.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "tulle/base/parallel.h"
#include "tulle/kernels/draws.h"

namespace tulle {
namespace {

double fan_in(const InitContext& c, std::int32_t target) {
  // A grown connection is asked about with the degree after growth, so the degree is at least 1 wherever this
  // is used.
  return c.sparse_fan ? std::max<double>(1.0, static_cast<double>(c.topology.row(target).size()))
                      : static_cast<double>(c.topology.cols());
}

double he_uniform(const InitContext& c, std::int32_t target) { return std::sqrt(6.0 / fan_in(c, target)); }

double xavier(const InitContext& c, std::int32_t) {
  const Topology& t = c.topology;
  if (!c.sparse_fan) return std::sqrt(6.0 / (static_cast<double>(t.cols()) + static_cast<double>(c.targets)));
  const double nnz = std::max<double>(1.0, static_cast<double>(c.connections));
  return std::sqrt(6.0 / (nnz / c.targets + nnz / t.cols()));  // mean in-degree + mean out-degree
}

double normal(const InitContext&, std::int32_t) { return 0.1; }

double var(const InitContext& c, std::int32_t target) {
  return std::sqrt(3.0 / (c.source_second_moment * fan_in(c, target)));
}

double zero(const InitContext&, std::int32_t) { return 0.0; }

// To add a law: its spread above and one line here.
constexpr WeightInitInfo kWeightInits[] = {
    {"he-uniform", "U(-a, a), a = sqrt(6 / fan in)", he_uniform},
    {"xavier", "U(-a, a), a = sqrt(6 / (fan in + fan out))", xavier},
    {"normal", "N(0, 0.1^2) whatever the size (published SET)", normal, true},
    {"var", "U(-a, a) that keeps the variance of pre-activations at 1", var},
    {"zero", "0", zero},
};

}  // namespace

std::span<const WeightInitInfo> weight_inits() { return kWeightInits; }

float draw_weight(const WeightInitInfo& law, double spread, const Random& random, std::uint64_t index) {
  if (law.normal) return static_cast<float>(spread * random.normal(index));
  return static_cast<float>(spread * (2.0 * random.uniform(index) - 1.0));
}

namespace {

constexpr std::int64_t kTogether = 1 << 10;  // drawn at a time

// Draws of spread 1 at these places.
void draw_units(const WeightInitInfo& law, const Random& random, std::span<const std::uint64_t> places,
                float* units) {
  if (law.normal) {
    for (std::size_t i = 0; i < places.size(); ++i) units[i] = random.normal(places[i]);
    return;
  }
  kernels::draw_uniform(random, places.data(), std::ssize(places), units);
  for (std::size_t i = 0; i < places.size(); ++i) units[i] = 2.0f * units[i] - 1.0f;  // exact
}

void scale(std::span<float> units, double spread) {
  for (float& unit : units) unit = static_cast<float>(spread * unit);
}

}  // namespace

AlignedVector<float> initial_weights(const WeightInitInfo& law, const InitContext& context,
                                     const Random& random) {
  const Topology& topology = context.topology;
  AlignedVector<float> values(static_cast<std::size_t>(topology.nnz()));
  parallel_ranges(topology.nnz(), kTogether, [&](Range range) {
    std::array<std::uint64_t, kTogether> places;
    for (std::int64_t at = range.begin; at < range.end; at += kTogether) {
      const auto count = static_cast<std::size_t>(std::min(kTogether, range.end - at));
      const auto some = std::span(places).first(count);
      std::iota(some.begin(), some.end(), static_cast<std::uint64_t>(at));
      draw_units(law, random, some, values.data() + at);
      // Only degrees tell one target from another.
      if (!context.sparse_fan) scale({values.data() + at, count}, law.spread(context, 0));
    }
  });
  if (!context.sparse_fan) return values;
  parallel_ranges(topology.rows(), kTogether, [&](Range range) {
    for (auto target = static_cast<std::int32_t>(range.begin); target < range.end; ++target) {
      const auto begin = topology.row_ptr()[static_cast<std::size_t>(target)];
      scale({values.data() + begin, topology.row(target).size()}, law.spread(context, target));
    }
  });
  return values;
}

std::vector<float> grown_weights(const WeightInitInfo& law, const InitContext& context, const Random& random,
                                 std::span<const std::uint64_t> cells, std::uint64_t first_key) {
  const auto width = static_cast<std::uint64_t>(context.topology.cols());
  std::vector<float> values(cells.size());
  parallel_ranges(std::ssize(cells), kTogether, [&](Range range) {
    std::array<std::uint64_t, kTogether> places;
    for (std::int64_t at = range.begin; at < range.end; at += kTogether) {
      const auto some = cells.subspan(static_cast<std::size_t>(at),
                                      static_cast<std::size_t>(std::min(kTogether, range.end - at)));
      std::ranges::transform(some, places.begin(), [&](std::uint64_t cell) { return first_key + cell; });
      float* const of_some = values.data() + at;
      draw_units(law, random, std::span(places).first(some.size()), of_some);
      if (!context.sparse_fan)
        scale({of_some, some.size()}, law.spread(context, 0));
      else
        for (std::size_t i = 0; i < some.size(); ++i)
          scale({of_some + i, 1}, law.spread(context, static_cast<std::int32_t>(some[i] / width)));
    }
  });
  return values;
}

}  // namespace tulle

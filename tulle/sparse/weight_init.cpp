#include "tulle/sparse/weight_init.h"

#include <algorithm>
#include <cmath>

#include "tulle/base/parallel.h"

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

AlignedVector<float> initial_weights(const WeightInitInfo& law, const InitContext& context,
                                     const Random& random) {
  const Topology& topology = context.topology;
  AlignedVector<float> values(static_cast<std::size_t>(topology.nnz()));
  const std::vector<std::int64_t> ranges = balanced_rows(topology.row_ptr(), thread_count());
  parallel_parts(thread_count(), [&](int part) {
    const auto i = static_cast<std::size_t>(part);
    for (std::int64_t target = ranges[i]; target < ranges[i + 1]; ++target) {
      const double spread = law.spread(context, static_cast<std::int32_t>(target));
      const auto row = static_cast<std::size_t>(target);
      for (auto k = static_cast<std::size_t>(topology.row_ptr()[row]);
           k < static_cast<std::size_t>(topology.row_ptr()[row + 1]); ++k)
        values[k] = draw_weight(law, spread, random, k);
    }
  });
  return values;
}

}  // namespace tulle

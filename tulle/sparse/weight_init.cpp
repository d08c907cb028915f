#include "tulle/sparse/weight_init.h"

#include <algorithm>
#include <cmath>

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
  if (!c.sparse_fan) return std::sqrt(6.0 / (static_cast<double>(t.cols()) + static_cast<double>(t.rows())));
  const double nnz = std::max<double>(1.0, static_cast<double>(t.nnz()));
  return std::sqrt(6.0 / (nnz / t.rows() + nnz / t.cols()));  // mean in-degree + mean out-degree
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

std::vector<float> initial_weights(const WeightInitInfo& law, const InitContext& context,
                                   const Random& random) {
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(context.topology.nnz()));
  for (std::int32_t target = 0; target < context.topology.rows(); ++target) {
    const double spread = law.spread(context, target);
    for (std::size_t i = 0; i < context.topology.row(target).size(); ++i)
      values.push_back(draw_weight(law, spread, random, values.size()));
  }
  return values;
}

}  // namespace tulle

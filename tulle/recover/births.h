#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tulle/recover/samples.h"

namespace tulle {

/// Where neurons should be born: how what is missed correlates with z = relu(+x_c) and relu(-x_c) of each
/// feature c.
class Births {
 public:
  /// `x` must outlive this. Cost: 4 * samples * features.
  explicit Births(const Samples& x);

  struct Birth {
    std::int32_t feature = 0;
    double direction = 1.0;   // of the gate: +1 or -1
    std::int32_t output = 0;  // that correlates best
    double score = 0.0;       // <z, r> / ||z||
  };

  /// The best `count` of a feature and a direction, the best one first; ties: the first. With free signs by
  /// magnitude. Shapes: r [output][x.padded()]. Cost: 4 * samples * features * (outputs + 1).
  std::vector<Birth> best(std::span<const double> r, bool free_signs, std::int64_t count) const;

 private:
  void score(std::span<const double> r, std::span<double> sums) const;

  const Samples& x_;
  std::vector<double> norms_;
};

}  // namespace tulle

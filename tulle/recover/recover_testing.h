#pragma once

#include <cmath>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/recover/planted.h"
#include "tulle/recover/recovery.h"

namespace tulle::testing {

/// A planted problem that owns what it is made of.
struct Planted {
  SparseNet net;
  Samples x;
  std::vector<double> y;

  Planted(std::int64_t n, std::int32_t d, std::int64_t m, std::int64_t s, std::uint64_t seed,
          bool mixed = false)
      : net{.weights = planted_weights(m, d, s, mixed, seed)},
        x(planted_samples(n, d, seed, 0)),
        y(net_outputs(x, net)) {}
  RecoverProblem problem() const { return {.x = x, .y = y}; }
};

inline double psnr(const Samples& x, std::span<const double> y, const SparseNet& net) {
  const std::vector<double> f = net_outputs(x, net);
  double squares = 0.0, peak = 0.0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(x.count()); ++i) {
    squares += (y[i] - f[i]) * (y[i] - f[i]);
    peak = std::max(peak, std::abs(y[i]));
  }
  return 20.0 * std::log10(peak) -
         10.0 * std::log10(std::max(squares / static_cast<double>(x.count()), 1e-30));
}

/// Runs the body with some number of threads, then with as many as before.
template <class Body>
auto with_threads(int threads, const Body& body) {
  const int before = thread_count();
  set_thread_count(threads);
  auto result = body();
  set_thread_count(before);
  return result;
}

}  // namespace tulle::testing

#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tulle/recover/gated_design.h"
#include "tulle/recover/recovery.h"
#include "tulle/recover/selector.h"

namespace tulle {

// What the methods of recovery share.

inline double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The batches of one pass over the samples, in an order drawn from (seed, epoch): body(samples, y) with y
/// [output][padded sample]. Without batches once, with the problem's own.
void for_batches(const RecoverProblem& problem, const RecoverOptions& options, std::int64_t epoch,
                 const std::function<void(const Samples&, std::span<const double>)>& body);

/// The longest step mu along g = A^T (y - A x) that lowers ||A x - y||^2 by 0.9 mu ||g||^2 at least, from
/// ||g||^2 and ||A g||^2: no product is needed for each mu that is tried. Source: f(x + mu g) = f - 2 mu
/// ||g||^2 + mu^2
/// ||A g||^2, so it is mu <= 1.1 ||g||^2 / ||A g||^2.
inline double longest_step(double squares, double curvature) { return 1.1 * squares / curvature; }

/// y - f for the design's gates and bound support with values v.
void residual(const GatedDesign& design, std::span<const double> y, std::span<const double> v,
              std::span<double> r);

/// sum (y - f(x))^2 of the net itself; `r` becomes y - f(x).
double true_loss(const GatedDesign& design, std::span<const double> y, const SparseWeights& weights,
                 std::span<double> r);

/// Weights at `found`; signs as `sign_of` says.
SparseWeights weights_at(const GatedDesign& design, std::span<const Candidate> found,
                         const std::function<std::int32_t(std::int64_t neuron)>& sign_of);

/// The `count` strongest of base + step * A^T r over all features of all neurons with gates.
std::vector<Candidate> strongest_step(const GatedDesign& design, const SparseWeights& base, double step,
                                      std::span<const double> r, std::int64_t count);

/// At most `iterations` of conjugate gradients on min ||A_S v - y||^2 + ridge ||v||^2 from the v given, for
/// the design's bound support (CGLS: no normal matrix). `r` becomes y - A_S v. Ends where ||A^T r||^2 <
/// 1e-20. Cost: 4 * samples * |S| each.
void least_squares(const GatedDesign& design, std::span<const double> y, std::span<double> v,
                   std::span<double> r, int iterations, double ridge = 0.0);

}  // namespace tulle

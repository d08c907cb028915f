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

/// What a step along a gradient needs of it, from the pieces that GatedDesign::gradient() passes: its numbers
/// at the places of a support, and the strongest `count` elsewhere. Support and values of w + step * gradient
/// are exactly those that all of it would give.
class StepSlopes {
 public:
  /// `support` must outlive the pieces.
  StepSlopes(const SparseWeights& support, std::int64_t count)
      : support_(support),
        at_support_(static_cast<std::size_t>(support.nonzeros()), 0.0),
        selectors_(static_cast<std::size_t>(GatedDesign::gradient_parts()), Selector(count)) {}

  /// key(place, number): what is compared elsewhere.
  template <class Key>
  void take(int part, std::int64_t neuron, std::int32_t first, std::span<const double> piece,
            const Key& key) {
    Selector& selector = selectors_[static_cast<std::size_t>(part)];
    const SparseWeights::Block* const block = support_.find(neuron);
    auto k = static_cast<std::size_t>(block == nullptr ? 0 : block->begin);
    const auto end = static_cast<std::size_t>(block == nullptr ? 0 : block->end);
    while (k < end && support_.feature()[k] < first) ++k;
    std::int64_t place = neuron * support_.features() + first;
    for (const double number : piece) {
      if (k < end && support_.places()[k] == place)
        at_support_[k++] = number;
      else
        selector.push(place, number, key(place, number));
      ++place;
    }
  }
  /// By place.
  std::vector<Candidate> elsewhere() {
    for (std::size_t part = 1; part < selectors_.size(); ++part) selectors_[0].merge(selectors_[part]);
    selectors_.resize(1, Selector(1));
    return selectors_[0].finish();
  }
  const std::vector<double>& at_support() const { return at_support_; }

 private:
  const SparseWeights& support_;
  std::vector<double> at_support_;
  std::vector<Selector> selectors_;
};

/// At most `iterations` of conjugate gradients on min ||A_S v - y||^2 + ridge ||v||^2 from the v given, for
/// the design's bound support (CGLS: no normal matrix). `r` becomes y - A_S v. Ends where ||A^T r||^2 <
/// 1e-20. Cost: 4 * samples * |S| each.
void least_squares(const GatedDesign& design, std::span<const double> y, std::span<double> v,
                   std::span<double> r, int iterations, double ridge = 0.0);

}  // namespace tulle

#include "tulle/recover/support.h"

#include <algorithm>
#include <utility>

#include "tulle/base/random.h"

namespace tulle {

void for_batches(const RecoverProblem& problem, const RecoverOptions& options, std::int64_t epoch,
                 const std::function<void(const Samples&, std::span<const double>)>& body) {
  const std::int64_t n = problem.x.count();
  if (options.batch == 0 || options.batch >= n) return body(problem.x, problem.y);
  const std::vector<std::uint32_t> order = random_permutation(
      static_cast<std::uint32_t>(n),
      {.seed = options.seed, .stream = Stream::kShuffle, .event = static_cast<std::uint32_t>(epoch)});
  for (std::int64_t first = 0; first < n; first += options.batch) {
    const std::span rows = std::span(order).subspan(
        static_cast<std::size_t>(first), static_cast<std::size_t>(std::min(options.batch, n - first)));
    const Samples some = select_samples(problem.x, rows);
    std::vector<double> y(static_cast<std::size_t>(problem.outputs * some.padded()), 0.0);
    for (std::int64_t o = 0; o < problem.outputs; ++o)
      for (std::size_t i = 0; i < rows.size(); ++i)
        y[static_cast<std::size_t>(o * some.padded()) + i] =
            problem.y[static_cast<std::size_t>(o * problem.x.padded()) + rows[i]];
    body(some, y);
  }
}

void residual(const GatedDesign& design, std::span<const double> y, std::span<const double> v,
              std::span<double> r) {
  design.multiply(v, r);
  for (std::size_t i = 0; i < r.size(); ++i) r[i] = y[i] - r[i];
}

double true_loss(const GatedDesign& design, std::span<const double> y, const SparseWeights& weights,
                 std::span<double> r) {
  design.outputs(weights, r);
  for (std::size_t i = 0; i < r.size(); ++i) r[i] = y[i] - r[i];
  return dot(r, r);
}

SparseWeights weights_at(const GatedDesign& design, std::span<const Candidate> found,
                         const std::function<std::int32_t(std::int64_t)>& sign_of) {
  std::vector<std::int64_t> places(found.size());
  std::vector<double> values(found.size());
  for (std::size_t k = 0; k < found.size(); ++k) {
    places[k] = found[k].place;
    values[k] = found[k].value;
  }
  SparseWeights weights(design.neurons(), design.samples().features(), std::move(places), std::move(values));
  for (SparseWeights::Block& block : weights.blocks()) block.sign = sign_of(block.neuron);
  return weights;
}

std::vector<Candidate> strongest_step(const GatedDesign& design, const SparseWeights& base, double step,
                                      std::span<const double> r, std::int64_t count) {
  std::vector<Selector> selectors(static_cast<std::size_t>(GatedDesign::gradient_parts()), Selector(count));
  const std::int64_t d = design.samples().features();
  design.gradient(r, [&](int part, std::int64_t neuron, std::int32_t first, std::span<const double> piece) {
    Selector& selector = selectors[static_cast<std::size_t>(part)];
    const SparseWeights::Block* const block = base.find(neuron);
    std::int64_t k = block == nullptr ? 0 : block->begin;
    const std::int64_t end = block == nullptr ? 0 : block->end;
    while (k < end && base.feature()[static_cast<std::size_t>(k)] < first) ++k;
    for (std::size_t i = 0; i < piece.size(); ++i) {
      const std::int64_t feature = first + static_cast<std::int64_t>(i);
      double value = step * piece[i];
      if (k < end && base.feature()[static_cast<std::size_t>(k)] == feature)
        value += base.values()[static_cast<std::size_t>(k++)];
      selector.push(neuron * d + feature, value);
    }
  });
  for (std::size_t part = 1; part < selectors.size(); ++part) selectors[0].merge(selectors[part]);
  return selectors[0].finish();
}

void least_squares(const GatedDesign& design, std::span<const double> y, std::span<double> v,
                   std::span<double> r, int iterations, double ridge) {
  residual(design, y, v, r);
  std::vector<double> slope(v.size()), direction(v.size()), image(r.size());
  const auto descend = [&] {
    design.multiply_transposed(r, slope);
    for (std::size_t k = 0; k < v.size(); ++k) slope[k] -= ridge * v[k];
    return dot(slope, slope);
  };
  double squares = descend();
  direction = slope;
  for (int i = 0; i < iterations && squares >= 1e-20; ++i) {
    design.multiply(direction, image);
    const double curvature = dot(image, image) + ridge * dot(direction, direction);
    if (!(curvature > 0.0)) return;
    const double length = squares / curvature;
    for (std::size_t k = 0; k < v.size(); ++k) v[k] += length * direction[k];
    for (std::size_t k = 0; k < r.size(); ++k) r[k] -= length * image[k];
    const double before = std::exchange(squares, descend());
    for (std::size_t k = 0; k < v.size(); ++k) direction[k] = slope[k] + squares / before * direction[k];
  }
}

}  // namespace tulle

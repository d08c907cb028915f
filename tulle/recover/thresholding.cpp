// Iterative hard thresholding: iht, aiht and htp differ in what happens on a support once it is chosen.

#include <algorithm>
#include <cmath>
#include <optional>

#include "tulle/recover/support.h"

namespace tulle {

namespace {

enum class Inner { kNone, kDescent, kLeastSquares };

// Gradient descent on the bound support from x, arXiv 2509.20323. mu only shrinks; after 11 refusals in one
// step x starts anew.
void descend(const GatedDesign& design, std::span<const double> y, std::span<double> x, double mu,
             int steps) {
  const std::vector<double> start(x.begin(), x.end());
  std::vector<double> r(y.size()), g(x.size()), image(y.size());
  residual(design, y, x, r);
  for (int step = 0; step < steps; ++step) {
    design.multiply_transposed(r, g);
    design.multiply(g, image);
    const double squares = dot(g, g), curvature = dot(image, image);
    if (!(curvature > 0.0)) return;
    int refusals = 0;
    while (mu > longest_step(squares, curvature) && refusals < 11) {
      mu /= 2;
      ++refusals;
    }
    if (refusals == 11) {
      std::copy(start.begin(), start.end(), x.begin());
      residual(design, y, x, r);
      continue;
    }
    for (std::size_t k = 0; k < x.size(); ++k) x[k] += mu * g[k];
    for (std::size_t i = 0; i < r.size(); ++i) r[i] -= mu * image[i];
  }
}

// Support and values after one step on these samples with the design's gates.
SparseWeights step(GatedDesign& design, std::span<const double> y, const SparseWeights& x,
                   const RecoverOptions& options, Inner inner,
                   const std::function<std::int32_t(std::int64_t)>& sign_of) {
  std::vector<double> r(y.begin(), y.end());
  double mu = 1e-14;  // of a step that only chooses the first support
  if (x.nonzeros() > 0) {
    design.bind(x);
    residual(design, y, x.values(), r);
    std::vector<double> g(static_cast<std::size_t>(x.nonzeros())), image(y.size());
    design.multiply_transposed(r, g);
    design.multiply(g, image);
    mu = dot(g, g) / (dot(image, image) + 1e-8);
  }
  SparseWeights next = weights_at(design, strongest_step(design, x, mu, r, options.nnz), sign_of);
  if (next.nonzeros() == 0 || inner == Inner::kNone) return next;
  design.bind(next);
  if (inner == Inner::kDescent)
    descend(design, y, next.values(), mu, options.descent_steps);
  else
    least_squares(design, y, next.values(), r, 50);
  return next;
}

Recovery run(const RecoverProblem& problem, const RecoverOptions& options, const RecoverProgress& progress,
             Inner inner, const std::string& signs) {
  const std::int64_t steps = options.steps == 0 ? 15 : options.steps;
  GatedDesign whole(problem.x, options.hidden_width, options.workspace);
  const bool own_gates = options.gates == "sequential", starts = options.start.neurons() > 0;
  SparseWeights x = starts ? options.start : SparseWeights(options.hidden_width, problem.x.features());
  if (options.gates == "open")
    whole.set_open_gates();
  else if (starts && own_gates)
    whole.set_gates(x);
  else
    whole.set_random_gates(options.seed);
  const auto sign_of = [&](std::int64_t neuron) {
    const SparseWeights::Block* const block = x.find(neuron);
    if (block != nullptr && !whole.random_gates()) return block->sign;
    return signs == "alternate" && neuron % 2 == 1 ? -1 : 1;
  };
  Recovery best;
  best.loss = std::numeric_limits<double>::infinity();
  std::vector<double> r(problem.y.size()), losses;

  for (std::int64_t t = 0; t < steps; ++t) {
    for_batches(problem, options, t, [&](const Samples& samples, std::span<const double> y) {
      if (&samples == &problem.x) {
        x = step(whole, y, x, options, inner, sign_of);
      } else {
        GatedDesign design(samples, options.hidden_width, options.workspace);
        design.set_gates_of(whole);
        x = step(design, y, x, options, inner, sign_of);
      }
      // Gates of steps 0 and 1 are random, those of a later one are what the step before left.
      if ((t == 0 && !starts) || !own_gates) return;
      if (whole.random_gates() && signs == "gate")
        for (SparseWeights::Block& block : x.blocks()) block.sign = whole.agreement(x, block) >= 0.0 ? 1 : -1;
      whole.set_gates(x);
    });
    double loss = 0.0;
    if (!own_gates) {
      whole.bind(x);
      residual(whole, problem.y, x.values(), r);
      loss = dot(r, r);
    } else {
      loss = true_loss(whole, problem.y, x, r);
    }
    losses.push_back(loss);
    if (options.published || !(loss >= best.loss)) {
      best.net.weights = x.without_zeros();
      best.loss = loss;
    }
    best.steps = t + 1;
    if (progress && !progress(best.steps, loss, x.nonzeros())) break;
  }
  best.losses = std::move(losses);
  return best;
}

Recovery with_signs(const RecoverProblem& problem, const RecoverOptions& options,
                    const RecoverProgress& progress, Inner inner) {
  if (options.start.neurons() > 0) return run(problem, options, progress, inner, "positive");
  if (options.signs != "auto") return run(problem, options, progress, inner, options.signs);
  if (options.published || *std::min_element(problem.y.begin(), problem.y.end()) >= 0.0)
    return run(problem, options, progress, inner, "positive");
  Recovery gate = run(problem, options, progress, inner, "gate");
  Recovery alternate = run(problem, options, progress, inner, "alternate");
  Recovery& best = alternate.loss < gate.loss ? alternate : gate;
  best.steps = gate.steps + alternate.steps;
  best.starts = 2;
  return std::move(best);
}

}  // namespace

Recovery solve_iht(const RecoverProblem& problem, const RecoverOptions& options,
                   const RecoverProgress& progress) {
  return with_signs(problem, options, progress, Inner::kNone);
}

Recovery solve_aiht(const RecoverProblem& problem, const RecoverOptions& options,
                    const RecoverProgress& progress) {
  return with_signs(problem, options, progress, Inner::kDescent);
}

Recovery solve_htp(const RecoverProblem& problem, const RecoverOptions& options,
                   const RecoverProgress& progress) {
  return with_signs(problem, options, progress, Inner::kLeastSquares);
}

}  // namespace tulle

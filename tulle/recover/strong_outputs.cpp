// The stronger solver for several outputs: hard thresholding in the metric of the loss's own curvature,
// births of neurons where the residual is, supports that are larger than wanted at first, truncated
// Gauss-Newton steps on both layers together, and many starts.

#include <algorithm>
#include <cmath>
#include <limits>

#include "tulle/base/random.h"
#include "tulle/recover/births.h"
#include "tulle/recover/damping.h"
#include "tulle/recover/starts.h"
#include "tulle/recover/support.h"
#include "tulle/recover/two_layers.h"

namespace tulle {

Recovery solve_aiht_outputs(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);

namespace {

constexpr int kConjugateSteps = 10;  // inside each
constexpr int kNewtonSteps = 2;      // after each choice of a support
constexpr int kLastSteps = 50;

// Entries of one layer that `stay` tells to.
template <class Stay>
SparseWeights filtered(const SparseWeights& w, const Stay& stay) {
  std::vector<std::int64_t> places;
  std::vector<double> values;
  for (const SparseWeights::Block& block : w.blocks()) {
    if (!stay(block.neuron)) continue;
    for (auto k = static_cast<std::size_t>(block.begin); k < static_cast<std::size_t>(block.end); ++k) {
      places.push_back(w.places()[k]);
      values.push_back(w.values()[k]);
    }
  }
  return SparseWeights(w.neurons(), w.features(), std::move(places), std::move(values));
}

// A neuron without weights on one side does nothing.
TwoLayers without_idle(const TwoLayers& w) {
  return {filtered(w.first, [&](std::int64_t j) { return w.second.find(j) != nullptr; }),
          filtered(w.second, [&](std::int64_t j) { return w.first.find(j) != nullptr; })};
}

double squared_norm(const SparseWeights& w, const SparseWeights::Block& block) {
  double sum = 0.0;
  for (const double v : w.values().subspan(static_cast<std::size_t>(block.begin),
                                           static_cast<std::size_t>(block.end - block.begin)))
    sum += v * v;
  return sum;
}

void scale(SparseWeights& w, const SparseWeights::Block& block, double by) {
  for (auto k = static_cast<std::size_t>(block.begin); k < static_cast<std::size_t>(block.end); ++k)
    w.values()[k] *= by;
}

// Both sides of each neuron get the same length, which leaves f as it is.
void balance(TwoLayers& w) {
  for (const SparseWeights::Block& block : w.first.blocks()) {
    const SparseWeights::Block& out = *w.second.find(block.neuron);
    const double in = squared_norm(w.first, block), squares = squared_norm(w.second, out);
    if (!(in > 0.0) || !(squares > 0.0)) continue;
    const double by = std::pow(squares / in, 0.25);
    scale(w.first, block, by);
    scale(w.second, out, 1.0 / by);
  }
}

class OutputsStrong {
 public:
  OutputsStrong(const RecoverProblem& problem, const RecoverOptions& options, const RecoverProgress& progress)
      : options_(options),
        progress_(progress),
        part_{.x = problem.x, .y = problem.y, .outputs = problem.outputs, .classify = problem.classify},
        m_(options.hidden_width),
        d_(problem.x.features()),
        design_(problem.x, m_, options.workspace),
        births_(problem.x),
        column_squares_(static_cast<std::size_t>(d_)) {
    total_ = loss_of(part_, nothing());
    best_.loss = std::numeric_limits<double>::infinity();
    best_.starts = 0;
    for (std::int64_t c = 0; c < d_; ++c)
      for (std::int64_t i = 0; i < part_.x.count(); ++i) {
        const double v = static_cast<double>(part_.x.column(c)[i]);
        column_squares_[static_cast<std::size_t>(c)] += v * v;
      }
  }

  bool done() const { return stopped_ || best_.loss <= options_.tolerance * total_; }

  Recovery best() {
    best_.net.weights = net_.first;
    best_.net.output = transposed(net_.second);
    return std::move(best_);
  }

  TwoLayers nothing() const {
    return {SparseWeights(m_, static_cast<std::int32_t>(d_)), SparseWeights(m_, part_.outputs)};
  }

  // A net that another method found, refined.
  void offer(Recovery other) {
    ++best_.starts;
    best_.steps += other.steps;
    keep({std::move(other.net.weights), transposed(other.net.output)}, std::move(other.losses));
  }

  // The best net without a share of its neurons, drawn at random.
  TwoLayers disturbed(const Start& start) const {
    const std::vector<bool> leaves =
        leaving(net_.first.blocks().size(), start.leaving, options_.seed, start.number);
    const SparseWeights::Block* const blocks = net_.first.blocks().data();
    return without_idle({filtered(net_.first,
                                  [&](std::int64_t j) {
                                    return !leaves[static_cast<std::size_t>(net_.first.find(j) - blocks)];
                                  }),
                         net_.second});
  }

  // One start of `steps` outer steps from w; the best net is kept.
  void run(const Start& start, TwoLayers w, std::int64_t steps) {
    std::vector<double> losses;
    TwoLayers winner;
    double won = std::numeric_limits<double>::infinity();
    ++best_.starts;
    const std::int64_t most = m_ * (d_ + part_.outputs);
    for (std::int64_t t = 0; t < steps && !stopped_; ++t) {
      const double phase = static_cast<double>(t) / static_cast<double>(std::max<std::int64_t>(1, steps - 1));
      w = chosen(w, graded_nonzeros(start.excess, options_.nnz, phase, most), start, phase < 0.9 || t == 0);
      double loss = loss_of(part_, w);
      for (int i = 0; i < kNewtonSteps; ++i)
        if (!refine(w, loss)) break;
      losses.push_back(loss);
      ++best_.steps;
      const std::int64_t nonzeros = w.first.nonzeros() + w.second.nonzeros();
      if (progress_ && !progress_(best_.steps, loss, nonzeros)) stopped_ = true;
      if (nonzeros > options_.nnz || !(loss < won)) continue;
      won = loss;
      winner = w;
      if (won <= options_.tolerance * total_) break;
    }
    if (won < std::numeric_limits<double>::infinity()) keep(winner, std::move(losses));
  }

 private:
  // Refines a net until that brings nothing, and keeps it if it is the best.
  void keep(const TwoLayers& net, std::vector<double> losses) {
    TwoLayers w = without_idle(net);
    double loss = loss_of(part_, w);
    for (int i = 0; i < kLastSteps && loss > options_.tolerance * total_ * 1e-6 && refine(w, loss); ++i) {
    }
    if (!(loss < best_.loss)) return;
    best_.loss = loss;
    best_.losses = std::move(losses);
    net_ = without_idle({w.first.without_zeros(), w.second.without_zeros()});
  }

  // The strongest s of w - D^-1 g in the metric D, the diagonal of the Gauss-Newton matrix: weights count as
  // sqrt(D) |w|, what is not yet there as |g| / sqrt(D), the roots of what it costs to lose the former and of
  // what the latter can gain. What comes in begins at 0. A birth is a pair of weights, each with half its
  // gain.
  TwoLayers chosen(const TwoLayers& w, std::int64_t s, const Start& start, bool births) {
    const std::int64_t k = part_.outputs, offset = m_ * d_;
    std::vector<double> r, p;
    forward(part_, w, r);
    (void)loss_and_slope(part_, r, &p);
    const double curve = mean_curvature(p);
    const NeuronSums sums = neuron_sums(part_, w.first, r);
    // Of each neuron, the root of D at a feature of unit length.
    std::vector<double> roots;
    for (const SparseWeights::Block& block : w.first.blocks())
      roots.push_back(std::sqrt(curve * squared_norm(w.second, *w.second.find(block.neuron)) *
                                sums.open[roots.size()] / static_cast<double>(part_.x.count())));
    const auto root = [&](std::size_t b, std::int64_t c) {
      return roots[b] * std::sqrt(column_squares_[static_cast<std::size_t>(c)]);
    };

    Selector strongest = steepest(w, s, r, root);
    for (std::size_t b = 0; b < roots.size(); ++b) {
      const SparseWeights::Block& block = w.first.blocks()[b];
      for (auto e = static_cast<std::size_t>(block.begin); e < static_cast<std::size_t>(block.end); ++e)
        strongest.push(w.first.places()[e], w.first.values()[e],
                       root(b, w.first.feature()[e]) * w.first.values()[e]);
      const SparseWeights::Block& out = *w.second.find(block.neuron);
      const double length = std::sqrt(curve * sums.squares[b]);
      auto e = static_cast<std::size_t>(out.begin);
      for (std::int64_t o = 0; o < k; ++o) {
        const std::int64_t place = offset + block.neuron * k + o;
        if (e < static_cast<std::size_t>(out.end) && w.second.feature()[e] == o) {
          strongest.push(place, w.second.values()[e], length * w.second.values()[e]);
          ++e;
        } else if (length > 0.0) {
          strongest.push(place, 0.0,
                         sums.slopes[b * static_cast<std::size_t>(k) + static_cast<std::size_t>(o)] / length);
        }
      }
    }
    if (births) {
      std::int64_t neuron = 0;
      for (const Births::Birth& birth : born(r, start, m_ - static_cast<std::int64_t>(roots.size()))) {
        while (w.first.find(neuron) != nullptr) ++neuron;
        const double key = birth.score / std::sqrt(2.0 * curve);
        strongest.push(neuron * d_ + birth.feature, birth.direction, key);
        strongest.push(offset + neuron * k + birth.output, 0.0, key);
        ++neuron;
      }
    }
    return without_idle(layers_of(strongest.finish(), m_, d_, part_.outputs));
  }

  // The strongest s of W1's slopes outside the support.
  template <class Root>
  Selector steepest(const TwoLayers& w, std::int64_t s, const std::vector<double>& r, const Root& root) {
    design_.set_gates(w.first);
    std::vector<Selector> selectors(static_cast<std::size_t>(GatedDesign::gradient_parts()), Selector(s));
    const std::int64_t stride = part_.x.padded();
    design_.gradient(
        [&](int, const GatedDesign::GateRows& rows, float* out) {
          double back[kernels::kTileRows] = {};
          const SparseWeights::Block& block = *w.second.find(rows.neuron);
          for (auto e = static_cast<std::size_t>(block.begin); e < static_cast<std::size_t>(block.end); ++e)
            add_scaled(w.second.values()[e], r.data() + w.second.feature()[e] * stride + rows.first,
                       rows.count, back);
          kernels::gate(back, rows.bits, rows.count, out);
        },
        [&](int at, std::int64_t neuron, std::int32_t from, std::span<const double> piece) {
          const SparseWeights::Block& block = *w.first.find(neuron);
          const auto b = static_cast<std::size_t>(&block - w.first.blocks().data());
          auto e = static_cast<std::size_t>(block.begin);
          for (std::size_t i = 0; i < piece.size(); ++i) {
            const std::int64_t c = from + static_cast<std::int64_t>(i);
            while (e < static_cast<std::size_t>(block.end) && w.first.feature()[e] < c) ++e;
            if (e < static_cast<std::size_t>(block.end) && w.first.feature()[e] == c) continue;
            const double length = root(b, c);
            if (length > 0.0)
              selectors[static_cast<std::size_t>(at)].push(neuron * d_ + c, 0.0, piece[i] / length);
          }
        });
    for (std::size_t at = 1; at < selectors.size(); ++at) selectors[0].merge(selectors[at]);
    return std::move(selectors[0]);
  }

  // Births for `dead` neurons; of a start with random gates their scores are shaken.
  std::vector<Births::Birth> born(const std::vector<double>& r, const Start& start, std::int64_t dead) const {
    std::vector<Births::Birth> births = births_.best(r, true, start.born ? std::min(dead, 2 * d_) : 2 * d_);
    if (start.born) return births;
    const Random random{.seed = options_.seed,
                        .stream = Stream::kGates,
                        .layer = 3,
                        .event = static_cast<std::uint32_t>(start.number)};
    for (Births::Birth& birth : births)
      birth.score *= static_cast<double>(
          random.uniform(static_cast<std::uint64_t>(2 * birth.feature + (birth.direction > 0.0 ? 0 : 1))));
    std::ranges::stable_sort(births, std::ranges::greater{},
                             [](const Births::Birth& birth) { return std::abs(birth.score); });
    births.resize(std::min(births.size(), static_cast<std::size_t>(dead)));
    return births;
  }

  // Of one output: 1 of squares, the mean of p (1 - p) of classes.
  double mean_curvature(const std::vector<double>& p) const {
    if (!part_.classify) return 1.0;
    double sum = 0.0;
    for (const double q : p) sum += q * (1.0 - q);
    return std::max(sum / static_cast<double>(part_.outputs * part_.x.count()), 1e-12);
  }

  // A Gauss-Newton step on both layers, its equations solved by conjugate gradients (of cross-entropies with
  // their curvature: Schraudolph 2002, Martens 2010), damped until it lowers the loss; false if none does.
  bool refine(TwoLayers& w, double& loss) {
    if (w.first.nonzeros() == 0) return false;
    balance(w);
    std::vector<double> p;
    LayersVector left;
    {
      std::vector<double> r;
      forward(part_, w, r);
      (void)loss_and_slope(part_, r, &p);
      left = support_slope(part_, w, r);
    }
    const auto each = [](LayersVector& a, const LayersVector& b, const auto& change) {
      for (std::size_t k = 0; k < a.first.size(); ++k) change(a.first[k], b.first[k]);
      for (std::size_t k = 0; k < a.second.size(); ++k) change(a.second[k], b.second[k]);
    };
    LayersVector change{std::vector<double>(left.first.size(), 0.0),
                        std::vector<double>(left.second.size(), 0.0)};
    each(left, left, [](double& a, double) { a = -a; });
    LayersVector direction = left;
    const double first = dot(left, left);
    double squares = first;
    for (int i = 0; i < kConjugateSteps && squares > 1e-20 * first; ++i) {
      const LayersVector bent = curved(part_, w, p, direction);
      const double bend = dot(direction, bent);
      if (!(bend > 0.0)) break;
      const double step = squares / bend;
      each(change, direction, [&](double& a, double b) { a += step * b; });
      each(left, bent, [&](double& a, double b) { a -= step * b; });
      const double now = dot(left, left), keep = now / squares;
      each(direction, left, [&](double& a, double b) { a = b + keep * a; });
      squares = now;
    }
    TwoLayers trial, found;
    const bool worth = lower(
        loss,
        [&](double damping) {
          trial = moved(w, damping, change);
          return loss_of(part_, trial);
        },
        [&] { found = std::move(trial); });
    if (found.first.neurons() > 0) w = std::move(found);
    return worth;
  }

  const RecoverOptions& options_;
  const RecoverProgress& progress_;
  OutputProblem part_;
  std::int64_t m_, d_;
  GatedDesign design_;
  Births births_;
  std::vector<double> column_squares_;
  double total_ = 0.0;
  bool stopped_ = false;
  TwoLayers net_;  // the best
  Recovery best_;
};

}  // namespace

Recovery solve_strong_outputs(const RecoverProblem& problem, const RecoverOptions& options,
                              const RecoverProgress& progress) {
  OutputsStrong solver(problem, options, progress);
  const std::int64_t steps = options.steps == 0 ? 40 : options.steps;
  Starts starts(options);
  while (!solver.done()) {
    const std::optional<Start> start = starts.next();
    if (!start) break;
    if (start->aiht) {
      RecoverOptions other = options;
      other.steps = 100;
      other.batch = 0;
      solver.offer(solve_aiht_outputs(problem, other, progress));
    } else if (start->leaving > 0.0) {
      solver.run(*start, solver.disturbed(*start), (steps + 1) / 2);
    } else {
      solver.run(*start, solver.nothing(), steps);
    }
  }
  return solver.best();
}

}  // namespace tulle

// The stronger solver: gates are born where the residual is, supports are larger than wanted at first, values
// are least squares, and Gauss-Newton steps are taken on the net itself.

#include <algorithm>
#include <cmath>
#include <limits>

#include "tulle/recover/births.h"
#include "tulle/recover/damping.h"
#include "tulle/recover/starts.h"
#include "tulle/recover/support.h"

namespace tulle {

Recovery solve_aiht(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);

namespace {

class StrongSolver {
 public:
  StrongSolver(const RecoverProblem& problem, const RecoverOptions& options, const RecoverProgress& progress)
      : problem_(problem),
        options_(options),
        progress_(progress),
        design_(problem.x, options.hidden_width, options.workspace),
        births_(problem.x),
        total_(dot(problem.y, problem.y)),
        r_(problem.y.size()) {
    best_.loss = std::numeric_limits<double>::infinity();
    best_.starts = 0;
    cells_ = options.hidden_width * problem.x.features();
  }

  bool done() const { return stopped_ || best_.loss <= options_.tolerance * total_; }
  Recovery& best() { return best_; }

  // A net that another method found, refined.
  void offer(Recovery other) {
    ++best_.starts;
    best_.steps += other.steps;
    SparseWeights w = std::move(other.net.weights);
    double loss = true_loss(design_, problem_.y, w, r_);
    keep(w, loss, std::move(other.losses));
  }

  // The best net without a share of its neurons, drawn at random.
  SparseWeights disturbed(const Start& start) const {
    const SparseWeights& w = best_.net.weights;
    const std::vector<bool> leaves = leaving(w.blocks().size(), start.leaving, options_.seed, start.number);
    SparseWeights rest = w;
    for (std::size_t b = 0; b < leaves.size(); ++b)
      if (leaves[b])
        for (std::int64_t k = w.blocks()[b].begin; k < w.blocks()[b].end; ++k)
          rest.values()[static_cast<std::size_t>(k)] = 0.0;
    return rest.without_zeros();
  }

  // One start of `steps` outer steps from `from`; the best net is kept. Signs are positive, or free: those of
  // the correlation that gave birth.
  void run(const Start& start, bool free_signs, const SparseWeights& from, std::int64_t steps) {
    std::vector<double> losses;
    SparseWeights w = from.neurons() > 0 ? from : SparseWeights(options_.hidden_width, problem_.x.features());
    double won = std::numeric_limits<double>::infinity();
    SparseWeights winner;
    ++best_.starts;
    double loss = true_loss(design_, problem_.y, w, r_);
    for (std::int64_t t = 0; t < steps && !stopped_; ++t) {
      const double phase = static_cast<double>(t) / static_cast<double>(std::max<std::int64_t>(1, steps - 1));
      const std::int64_t s = graded_nonzeros(start.excess, options_.nnz, phase, cells_);
      if (t == 0 && !start.born && w.nonzeros() == 0)
        design_.set_random_gates(options_.seed + static_cast<std::uint64_t>(start.number));
      else
        design_.set_gates(with_births(w, free_signs, phase < 0.9 || t == 0));
      w = pursue(w, s);
      design_.bind(w);
      least_squares(design_, problem_.y, w.values(), r_, 8);
      if (design_.random_gates() && free_signs)
        for (SparseWeights::Block& block : w.blocks())
          block.sign = design_.agreement(w, block) >= 0.0 ? 1 : -1;
      loss = true_loss(design_, problem_.y, w, r_);
      for (int i = 0; i < 2; ++i)
        if (!refine(w, loss)) break;
      losses.push_back(loss);
      ++best_.steps;
      if (progress_ && !progress_(best_.steps, loss, w.nonzeros())) stopped_ = true;
      if (w.nonzeros() <= options_.nnz && loss < won) {
        won = loss;
        winner = w.without_zeros();
        if (won <= options_.tolerance * total_) break;
      }
    }
    keep(winner, won, std::move(losses));
  }

 private:
  // Refines a net until that brings nothing, and keeps it if it is the best.
  void keep(SparseWeights& w, double loss, std::vector<double> losses) {
    for (int i = 0; i < 50 && loss > options_.tolerance * total_ * 1e-6 && refine(w, loss); ++i) {
    }
    if (!(loss < best_.loss)) return;
    best_.loss = loss;
    best_.net.weights = w.without_zeros();
    best_.losses = std::move(losses);
  }

  // Own gates of the living; dead neurons get gates along the features that the residual asks for.
  SparseWeights with_births(const SparseWeights& w, bool free_signs, bool births) const {
    if (!births) return w;
    const std::int64_t dead = options_.hidden_width - static_cast<std::int64_t>(w.blocks().size());
    if (dead == 0) return w;
    std::vector<Births::Birth> born =
        births_.best(r_, free_signs, std::min<std::int64_t>(dead, 2 * problem_.x.features()));
    std::vector<std::int64_t> places;
    std::vector<double> values;
    std::vector<std::int32_t> signs;
    auto block = w.blocks().begin();
    std::size_t next = 0;
    for (std::int64_t j = 0; j < options_.hidden_width; ++j) {
      if (block != w.blocks().end() && block->neuron == j) {
        for (std::int64_t k = block->begin; k < block->end; ++k) {
          places.push_back(w.places()[static_cast<std::size_t>(k)]);
          values.push_back(w.values()[static_cast<std::size_t>(k)]);
        }
        signs.push_back(block++->sign);
        continue;
      }
      if (next == born.size()) continue;
      const Births::Birth& birth = born[next++];
      const std::int32_t sign = free_signs && birth.score < 0.0 ? -1 : 1;
      places.push_back(j * problem_.x.features() + birth.feature);
      values.push_back(birth.direction * sign);
      signs.push_back(sign);
    }
    SparseWeights gates(options_.hidden_width, problem_.x.features(), std::move(places), std::move(values));
    for (std::size_t k = 0; k < signs.size(); ++k) gates.blocks()[k].sign = signs[k];
    return gates;
  }

  // The strongest s of w + mu g, mu the best step along the strongest s of g. One pass: what w + mu g selects
  // is in the support or among the strongest of g outside it. Weights of the support whose g is not among the
  // strongest stay where they are: least squares moves them next.
  SparseWeights pursue(const SparseWeights& w, std::int64_t s) {
    const SparseWeights none(options_.hidden_width, problem_.x.features());
    const std::vector<Candidate> slope = strongest_step(design_, none, 1.0, r_, s + w.nonzeros());
    const auto sign_of = [&](std::int64_t neuron) {
      if (const SparseWeights::Block* block = w.find(neuron)) return block->sign;
      const SparseWeights::Block* gate = design_.gates().find(neuron);
      return gate == nullptr ? 1 : gate->sign;
    };
    Selector strongest(s);
    for (const Candidate& c : slope) strongest.push(c.place, c.value);
    const SparseWeights direction = weights_at(design_, strongest.finish(), sign_of);
    if (direction.nonzeros() == 0) return w;
    design_.bind(direction);
    std::vector<double> image(r_.size());
    design_.multiply(direction.values(), image);
    const double mu = dot(direction.values(), direction.values()) / (dot(image, image) + 1e-8);
    Selector next(s);
    std::size_t k = 0;
    for (const Candidate& c : slope) {
      for (; k < w.places().size() && w.places()[k] < c.place; ++k) next.push(w.places()[k], w.values()[k]);
      const bool there = k < w.places().size() && w.places()[k] == c.place;
      next.push(c.place, mu * c.value + (there ? w.values()[k] : 0.0));
      if (there) ++k;
    }
    for (; k < w.places().size(); ++k) next.push(w.places()[k], w.values()[k]);
    return weights_at(design_, next.finish(), sign_of);
  }

  // A Gauss-Newton step on the net's own loss, damped until it lowers it; false if none does. r_ is y - f(x)
  // before and after.
  bool refine(SparseWeights& w, double& loss) {
    if (w.nonzeros() == 0) return false;
    true_loss(design_, problem_.y, w, r_);
    design_.set_gates(w);
    design_.bind(w);
    std::vector<double> change(static_cast<std::size_t>(w.nonzeros())), left(r_.size()), trial(r_.size());
    least_squares(design_, r_, change, left, 8);
    SparseWeights candidate = w, found;
    const bool worth = lower(
        loss,
        [&](double damping) {
          for (std::size_t k = 0; k < change.size(); ++k)
            candidate.values()[k] = w.values()[k] + damping * change[k];
          return true_loss(design_, problem_.y, candidate, trial);
        },
        [&] {
          found = candidate;
          r_ = trial;
        });
    if (found.neurons() > 0) w = std::move(found);
    return worth;
  }

  const RecoverProblem& problem_;
  const RecoverOptions& options_;
  const RecoverProgress& progress_;
  GatedDesign design_;
  Births births_;
  double total_;
  std::vector<double> r_;  // y - f(x) of the net at hand
  std::int64_t cells_ = 0;
  bool stopped_ = false;
  Recovery best_;
};

}  // namespace

Recovery solve_strong(const RecoverProblem& problem, const RecoverOptions& options,
                      const RecoverProgress& progress) {
  StrongSolver solver(problem, options, progress);
  const bool nonnegative = *std::min_element(problem.y.begin(), problem.y.end()) >= 0.0;
  const std::string signs = options.signs == "auto" ? (nonnegative ? "positive" : "free") : options.signs;
  const bool free_signs = signs != "positive";
  const std::int64_t steps = options.steps == 0 ? 40 : options.steps;
  Starts starts(options);
  if (options.start.neurons() > 0) {
    const double excess = static_cast<double>(options.start.nonzeros()) / static_cast<double>(options.nnz);
    solver.run({.excess = std::max(1.0, excess)}, free_signs, options.start, steps);
  }
  while (!solver.done()) {
    const std::optional<Start> start = starts.next();
    if (!start) break;
    if (start->aiht) {
      RecoverOptions other = options;
      other.steps = 100;
      other.batch = 0;
      if (free_signs) other.signs = "gate";
      solver.offer(solve_aiht(problem, other, progress));
    } else if (start->leaving > 0.0) {
      solver.run(*start, free_signs, solver.disturbed(*start), (steps + 1) / 2);
    } else {
      solver.run(*start, free_signs, {}, steps);
    }
  }
  return std::move(solver.best());
}

}  // namespace tulle

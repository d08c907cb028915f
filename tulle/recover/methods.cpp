#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/recover/recovery.h"

namespace tulle {

Recovery solve_iht(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_aiht(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_htp(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_strong(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_iht_outputs(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_aiht_outputs(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_htp_outputs(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_strong_outputs(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);
Recovery solve_imp(const RecoverProblem&, const RecoverOptions&, const RecoverProgress&);

namespace {

// To add a method: its file, its name above, one line here.
constexpr RecoverMethod kMethods[] = {
    {"iht", "a gradient step on all weights, then the strongest s stay", "arXiv 2509.20323", solve_iht,
     solve_iht_outputs, true, true},
    {"aiht", "iht with gradient descent on each support", "arXiv 2509.20323", solve_aiht, solve_aiht_outputs,
     true, true},
    {"htp", "iht with least squares on each support", "Foucart 2011, gates of arXiv 2509.20323", solve_htp,
     solve_htp_outputs, true, true},
    {"strong", "gate birth, shrinking supports, least squares, Gauss-Newton, many starts", "own",
     solve_strong, solve_strong_outputs, false, true},
    {"imp", "baseline: train a dense net, prune a tenth, go back to its first values, again",
     "arXiv 2509.20323; Frankle and Carbin 2019", solve_imp, solve_imp},
};

// Stopped before there was a net within the budget: the empty one.
Recovery nothing_found(const RecoverProblem& problem, const RecoverOptions& options,
                       const Recovery& stopped) {
  const auto n = static_cast<double>(problem.x.count());
  Recovery none{.steps = stopped.steps, .starts = stopped.starts};
  none.net.weights = SparseWeights(options.hidden_width, problem.x.features());
  if (problem.outputs > 1)
    none.net.output = SparseWeights(problem.outputs, static_cast<std::int32_t>(options.hidden_width));
  none.loss = problem.classify ? n * std::log(problem.outputs) : 0.0;
  if (!problem.classify)
    for (const double y : problem.y) none.loss += y * y;
  return none;
}

void check_choice(const RecoverMethod& how, const RecoverProblem& problem, const RecoverOptions& options) {
  if (options.gates != "sequential" && (problem.outputs > 1 || !how.any_gates))
    throw Error(
        ErrorKind::kConfig,
        fmt::format("recover.gates, found '{}', expected 'sequential' with {} outputs and the method '{}'",
                    options.gates, problem.outputs, how.name));
  if (options.gates == "fixed" && options.hidden_layers > 1)
    throw Error(ErrorKind::kConfig, fmt::format("recover.gates, found 'fixed', expected 'sequential' with {} "
                                                "hidden layers",
                                                options.hidden_layers));
  if (options.select == "sketch" && (problem.outputs == 1 || !how.any_gates))
    throw Error(
        ErrorKind::kConfig,
        fmt::format("recover.select, found 'sketch' with {} outputs and the method '{}', expected several "
                    "outputs and iht, aiht or htp",
                    problem.outputs, how.name));
  if (options.start.neurons() > 0 && (!how.any_start || problem.outputs > 1 || options.hidden_layers > 1))
    throw Error(
        ErrorKind::kConfig,
        fmt::format(
            "recover.start_from, found a net for {} with {} outputs and {} hidden layers, expected one "
            "output, one hidden layer and another method than imp",
            how.name, problem.outputs, options.hidden_layers));
  if (options.nnz < options.hidden_layers)
    throw Error(ErrorKind::kConfig,
                fmt::format("recover.nnz, found {}, expected at least one for each of {} hidden layers",
                            options.nnz, options.hidden_layers));
}

}  // namespace

std::span<const RecoverMethod> recover_methods() { return kMethods; }

std::vector<std::string> sign_rules() { return {"auto", "positive", "alternate", "gate"}; }

Recovery recover(std::string_view method, const RecoverProblem& problem, const RecoverOptions& given,
                 const RecoverProgress& told) {
  const RecoverMethod& how = find_name(recover_methods(), "recover.method", method);
  require(given.nnz > 0 && given.hidden_width > 0 && given.hidden_layers > 0,
          "recovery: at least one neuron and one nonzero");
  require(given.hidden_width < std::numeric_limits<std::int32_t>::max(),
          "recovery: neurons are numbered with 32 bits");
  require(static_cast<std::int64_t>(problem.y.size()) == problem.outputs * problem.x.padded(),
          "recovery: one number for each sample and output");
  require(given.start.neurons() == 0 ||
              (given.start.neurons() == given.hidden_width && given.start.features() == problem.x.features()),
          "recovery: a start of the same neurons and features");
  check_choice(how, problem, given);
  const bool fused = problem.outputs == 1 && how.name != "imp";
  bool finite = true, negative = false, positive = false;
  for (const double y : problem.y) {
    finite = finite && std::isfinite(y);
    negative = negative || y < 0.0;
    positive = positive || y > 0.0;
  }
  if (!finite) throw Error(ErrorKind::kBadData, "labels, found one that is not finite, expected numbers");
  if (fused && given.signs == "positive" && negative && !positive)
    throw Error(ErrorKind::kConfig,
                "recover.signs, found 'positive' with labels that are all negative or 0, expected 'auto': a "
                "sum of ReLUs is "
                "never negative");
  if (fused && !negative && !positive)
    return {.net = {.weights = SparseWeights(given.hidden_width, problem.x.features())}};

  RecoverOptions options = given;
  options.nnz = given.nnz / given.hidden_layers;
  bool stopped = false;
  const RecoverProgress progress = [&](std::int64_t step, double loss, std::int64_t nonzeros) {
    stopped = stopped || (told && !told(step, loss, nonzeros));
    return !stopped;
  };
  Recovery found;
  const Samples* x = &problem.x;
  Samples hidden;
  for (std::int64_t l = 0; l < given.hidden_layers; ++l) {
    if (l > 0) {
      found.net.below.push_back(std::move(found.net.weights));
      hidden = hidden_samples(*x, found.net.below.back());
      x = &hidden;
    }
    if (x->features() == 0) break;  // a layer without a nonzero: the net is 0
    RecoverOptions of_layer = options;
    of_layer.nnz =
        std::min(options.nnz, options.hidden_width * (x->features() + (fused ? 0 : problem.outputs)));
    const RecoverProblem here{
        .x = *x, .y = problem.y, .outputs = problem.outputs, .classify = problem.classify};
    Recovery layer = (problem.outputs == 1 ? how.solve : how.solve_outputs)(here, of_layer, progress);
    if (stopped && std::isinf(layer.loss) && layer.losses.empty())
      layer = nothing_found(here, options, layer);
    if (!std::isfinite(layer.loss))
      throw Error(ErrorKind::kDiverged,
                  fmt::format("recovery by {} diverged: the loss is not finite", method));
    layer.net.below = std::move(found.net.below);
    layer.steps += found.steps;
    found = std::move(layer);
  }
  return found;
}

}  // namespace tulle

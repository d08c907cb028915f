#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "tulle/base/parallel.h"
#include "tulle/evolve/grow.h"
#include "tulle/sparse/sampling.h"

// Guided stochastic exploration (Heddes et al. 2024, arXiv 2401.06898): candidates are cells whose two
// neurons are drawn independently, by how much each is at work in the batch; the largest gradients among
// them grow. Cost O(batch * candidates), never that of a dense gradient.

namespace tulle {

Grow grow_gradient;

namespace {

constexpr std::int64_t kLine = 16;

// The magnitude of each neuron's activity over the batch, from one number per sample.
template <class OfSample>
std::vector<double> activity(Panels<const float> panels, const OfSample& of_sample) {
  std::vector<double> sums(static_cast<std::size_t>(panels.features));
  parallel_ranges(panels.features, 16, [&](Range features) {
    for (auto f = static_cast<std::int32_t>(features.begin); f < features.end; ++f) {
      double sum = 0.0;
      for (std::int32_t b = 0; b < panels.batch; ++b) sum += of_sample(b, panels.at(b, f));
      sums[static_cast<std::size_t>(f)] = std::isfinite(sum) ? std::abs(sum) : 0.0;
    }
  });
  return sums;
}

// Draws neurons with probabilities proportional to their activity, or all alike where there is none.
class Draw {
 public:
  explicit Draw(std::vector<double> weights) : sums_(std::move(weights)) {
    double sum = 0.0;
    for (double& weight : sums_) weight = sum += weight;
    if (!(sum > 0.0))
      for (std::size_t i = 0; i < sums_.size(); ++i) sums_[i] = static_cast<double>(i + 1);
  }
  std::uint64_t operator()(std::uint64_t bits) const {
    const double place = static_cast<double>(bits >> 11) * 0x1p-53 * sums_.back();
    const auto found = std::upper_bound(sums_.begin(), sums_.end(), place);
    return static_cast<std::uint64_t>(
        std::min<std::ptrdiff_t>(found - sums_.begin(), static_cast<std::ptrdiff_t>(sums_.size()) - 1));
  }

 private:
  std::vector<double> sums_;
};

// Distinct cells among `draws` pairs of neurons, sorted.
std::vector<std::uint64_t> draw_cells(const GrowInput& input, const Draw& sources, const Draw& targets,
                                      std::int64_t draws) {
  const auto width = static_cast<std::uint64_t>(input.taken.cols());
  std::vector<std::uint64_t> cells(static_cast<std::size_t>(draws));
  parallel_ranges(draws, 4096, [&](Range range) {
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      const auto words = input.random.words(static_cast<std::uint64_t>(i));
      const std::uint64_t source = sources(std::uint64_t{words[0]} << 32 | words[1]);
      const std::uint64_t target = targets(std::uint64_t{words[2]} << 32 | words[3]);
      cells[static_cast<std::size_t>(i)] = target * width + source;
    }
  });
  sort_keys(cells, input.taken.cells());
  cells.erase(std::unique(cells.begin(), cells.end()), cells.end());
  return cells;
}

float gradient_of(const GrowInput& input, std::uint64_t cell) {
  const auto width = static_cast<std::uint64_t>(input.taken.cols());
  const auto target = static_cast<std::int64_t>(cell / width),
             source = static_cast<std::int64_t>(cell % width);
  const std::int64_t lanes = input.inputs.width;
  float sums[kLine] = {};
  for (std::int32_t p = 0; p < input.inputs.count(); ++p) {
    const float* const x = input.inputs.panel(p) + source * lanes;
    const float* const e = input.errors.panel(p) + target * lanes;
    for (std::int64_t line = 0; line < lanes; line += kLine) {
      const std::int64_t wide = std::min(kLine, lanes - line);  // a panel may be narrower than a line
      for (std::int64_t i = 0; i < wide; ++i) sums[i] += x[line + i] * e[line + i];
    }
  }
  float sum = 0.0f;
  for (const float part : sums) sum += part;
  return sum;
}

// How many pairs of neurons are drawn; nothing: as many as there are free cells, so that every one is a
// candidate.
std::optional<std::int64_t> draws_of(const GrowInput& input) {
  const std::uint64_t absent = input.taken.cells() - static_cast<std::uint64_t>(input.taken.nnz());
  const double draws = input.candidates * static_cast<double>(input.connections);
  if (draws >= static_cast<double>(absent)) return std::nullopt;
  return std::max(static_cast<std::int64_t>(draws), input.count);
}

std::vector<std::uint64_t> grow_guided(const GrowInput& input, const Draw& sources, const Draw& targets) {
  const std::optional<std::int64_t> draws = draws_of(input);
  if (!draws) return grow_gradient(input);
  std::vector<std::uint64_t> cells = draw_cells(input, sources, targets, *draws);
  strike_out_existing(input.taken, cells);
  const std::vector<float> gradients = cell_gradients(input, cells);
  std::vector<ScoredCell> scored(cells.size());
  for (std::size_t i = 0; i < cells.size(); ++i) scored[i] = {score_of(gradients[i]), cells[i]};
  return best_cells_and_others(input, std::move(scored));  // few neurons may have been at work
}

// Activities of gse-estimate: sums over the batch with random signs.
struct Estimate {
  std::vector<double> sign;

  explicit Estimate(const GrowInput& input) : sign(static_cast<std::size_t>(input.inputs.batch)) {
    Random signs = input.random;
    signs.stream = Stream::kGrowSigns;
    for (std::size_t b = 0; b < sign.size(); ++b) sign[b] = (signs.words(b)[0] & 1u) != 0 ? 1.0 : -1.0;
  }
  Draw of(Panels<const float> panels) const {
    return Draw(activity(panels, [this](std::int32_t b, float x) {
      return sign[static_cast<std::size_t>(b)] * static_cast<double>(x);
    }));
  }
};

}  // namespace

std::vector<std::uint64_t> grow_gse_uniform(const GrowInput& input) {
  const auto alike = [](std::int32_t neurons) {
    return Draw(std::vector<double>(static_cast<std::size_t>(neurons), 1.0));
  };
  return grow_guided(input, alike(input.taken.cols()), alike(input.taken.rows()));
}

std::vector<std::uint64_t> grow_gse_bound(const GrowInput& input) {
  const auto magnitude = [](std::int32_t, float x) { return std::abs(static_cast<double>(x)); };
  return grow_guided(input, Draw(activity(input.inputs, magnitude)), Draw(activity(input.errors, magnitude)));
}

std::vector<std::uint64_t> grow_gse_estimate(const GrowInput& input) {
  const Estimate estimate(input);
  return grow_guided(input, estimate.of(input.inputs), estimate.of(input.errors));
}

std::vector<std::uint64_t> proposed_cells(const GrowInput& input) {
  if (const std::optional<std::int64_t> draws = draws_of(input)) {
    const Estimate estimate(input);
    return draw_cells(input, estimate.of(input.inputs), estimate.of(input.errors), *draws);
  }
  std::vector<std::uint64_t> cells(input.taken.cells());
  std::iota(cells.begin(), cells.end(), std::uint64_t{0});
  return cells;
}

std::vector<float> cell_gradients(const GrowInput& input, std::span<const std::uint64_t> cells) {
  std::vector<float> gradients(cells.size());
  parallel_ranges(std::ssize(cells), 256, [&](Range range) {
    for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
      gradients[i] = gradient_of(input, cells[i]);
  });
  return gradients;
}

}  // namespace tulle

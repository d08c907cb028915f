#include <algorithm>
#include <cmath>
#include <limits>

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

// Distinct free cells among `draws` pairs of neurons, sorted.
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
  strike_out_existing(input.taken, cells);
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
    for (std::int64_t line = 0; line < lanes; line += kLine)
      for (std::int64_t i = 0; i < kLine; ++i) sums[i] += x[line + i] * e[line + i];
  }
  float sum = 0.0f;
  for (const float part : sums) sum += part;
  return std::abs(sum) <= std::numeric_limits<float>::max() ? std::abs(sum)
                                                            : std::numeric_limits<float>::infinity();
}

std::vector<std::uint64_t> grow_guided(const GrowInput& input, const Draw& sources, const Draw& targets) {
  const std::uint64_t absent = input.taken.cells() - static_cast<std::uint64_t>(input.taken.nnz());
  const double draws = input.candidates * static_cast<double>(input.connections);
  if (draws >= static_cast<double>(absent)) return grow_gradient(input);  // every cell is a candidate
  const std::vector<std::uint64_t> cells =
      draw_cells(input, sources, targets, std::max(static_cast<std::int64_t>(draws), input.count));
  std::vector<ScoredCell> scored(cells.size());
  parallel_ranges(static_cast<std::int64_t>(cells.size()), 256, [&](Range range) {
    for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
      scored[i] = {gradient_of(input, cells[i]), cells[i]};
  });
  std::vector<std::uint64_t> grown = best_cells(std::move(scored), input.count);
  const auto missing = input.count - static_cast<std::int64_t>(grown.size());
  if (missing <= 0) return grown;
  // Few neurons were at work: what they could not give grows anywhere.
  std::vector<std::uint64_t> both = input.taken.keys();
  const auto middle = static_cast<std::ptrdiff_t>(both.size());
  both.insert(both.end(), grown.begin(), grown.end());
  std::inplace_merge(both.begin(), both.begin() + middle, both.end());
  const auto taken = Topology::from_keys(input.taken.rows(), input.taken.cols(), both);
  Random rest = input.random;
  rest.stream = Stream::kGrowRest;
  for (const std::uint64_t cell : random_absent_cells(taken, missing, rest)) grown.push_back(cell);
  std::sort(grown.begin(), grown.end());
  return grown;
}

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
  Random signs = input.random;
  signs.stream = Stream::kGrowSigns;
  std::vector<double> sign(static_cast<std::size_t>(input.inputs.batch));
  for (std::size_t b = 0; b < sign.size(); ++b) sign[b] = (signs.words(b)[0] & 1u) != 0 ? 1.0 : -1.0;
  const auto signed_value = [&](std::int32_t b, float x) {
    return sign[static_cast<std::size_t>(b)] * static_cast<double>(x);
  };
  return grow_guided(input, Draw(activity(input.inputs, signed_value)),
                     Draw(activity(input.errors, signed_value)));
}

}  // namespace tulle

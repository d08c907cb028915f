#include <algorithm>

#include "tulle/base/parallel.h"
#include "tulle/evolve/grow.h"
#include "tulle/kernels/gemm.h"

namespace tulle {
namespace {

// A tile of the gradient stays in a core's own cache. Tiles depend on the shape alone, so that every cell's
// sum has the same bits for any number of threads.
constexpr std::int32_t kTargets = 64, kSources = 1024;

// The best cells seen so far: twice as many as wanted at most, thinned out when full, after which nothing
// below the worst of the best is looked at.
class Best {
 public:
  explicit Best(std::int64_t count) : count_(static_cast<std::size_t>(count)) {}

  void offer(float score, std::uint64_t key) {
    if (!(score >= floor_)) return;
    cells_.push_back({score, key});
    if (cells_.size() >= 2 * count_ + 1024) thin();
  }
  const std::vector<ScoredCell>& cells() const { return cells_; }

 private:
  void thin() {
    std::nth_element(cells_.begin(), cells_.begin() + static_cast<std::ptrdiff_t>(count_) - 1, cells_.end(),
                     grows_before);
    cells_.resize(count_);
    floor_ = cells_.back().score;
  }

  std::size_t count_;
  std::vector<ScoredCell> cells_;
  float floor_ = 0.0f;
};

// The tile's gradients: errors of some targets times inputs of some sources, over all samples. Padded lanes
// hold zeros in the errors.
void gradient_tile(const GrowInput& input, std::int32_t target, std::int32_t targets, std::int32_t source,
                   std::int32_t sources, float* tile) {
  const std::int32_t width = input.inputs.width;
  for (std::int32_t p = 0; p < input.inputs.count(); ++p)
    kernels::gemm(false, true, targets, sources, width, input.errors.panel(p) + std::int64_t{target} * width,
                  width, input.inputs.panel(p) + std::int64_t{source} * width, width, p > 0, tile, sources);
}

void offer_row(std::span<const std::int32_t> taken, std::int32_t source, std::span<const float> gradients,
               std::uint64_t row_start, Best& best) {
  auto next = std::lower_bound(taken.begin(), taken.end(), source);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const auto column = source + static_cast<std::int32_t>(i);
    if (next != taken.end() && *next == column) {
      ++next;
      continue;
    }
    best.offer(score_of(gradients[i]), row_start + static_cast<std::uint64_t>(column));
  }
}

}  // namespace

// RigL (arXiv 1911.11134): the largest gradients among the cells that do not exist. The gradient is made tile
// by tile and never held: memory O(count) per thread.
std::vector<std::uint64_t> grow_gradient(const GrowInput& input) {
  const Topology& taken = input.taken;
  if (input.count <= 0) return {};
  const std::int32_t row_tiles = (taken.rows() + kTargets - 1) / kTargets;
  std::vector<std::vector<ScoredCell>> found(
      static_cast<std::size_t>(std::min(thread_count(), static_cast<int>(row_tiles))));
  const auto parts = static_cast<int>(found.size());
  parallel_parts(parts, [&](int part) {
    Best best(input.count);
    std::vector<float> tile(std::size_t{kTargets} * kSources);
    const Range range = even_range(row_tiles, parts, part);
    for (auto t = static_cast<std::int32_t>(range.begin); t < range.end; ++t) {
      const std::int32_t target = t * kTargets, targets = std::min(kTargets, taken.rows() - target);
      for (std::int32_t source = 0; source < taken.cols(); source += kSources) {
        const std::int32_t sources = std::min(kSources, taken.cols() - source);
        gradient_tile(input, target, targets, source, sources, tile.data());
        for (std::int32_t r = 0; r < targets; ++r)
          offer_row(taken.row(target + r), source,
                    std::span(tile).subspan(static_cast<std::size_t>(r) * static_cast<std::size_t>(sources),
                                            static_cast<std::size_t>(sources)),
                    static_cast<std::uint64_t>(target + r) * static_cast<std::uint64_t>(taken.cols()), best);
      }
    }
    found[static_cast<std::size_t>(part)] = best.cells();
  });
  std::vector<ScoredCell> all;
  for (const auto& cells : found) all.insert(all.end(), cells.begin(), cells.end());
  return best_cells(std::move(all), input.count);
}

}  // namespace tulle

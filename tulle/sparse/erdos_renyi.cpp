#include "tulle/sparse/erdos_renyi.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tulle/base/aligned.h"
#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

// Blocks of cells that draw for themselves hold about so many connections.
constexpr double kBlockConnections = 4096.0;

std::uint64_t cells_of(std::int32_t rows, std::int32_t cols) {
  return static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols);
}

// The connections among cells [begin, end): from each to the next as many cells are passed over as a
// geometric law says.
std::vector<std::uint64_t> bernoulli_cells(std::uint64_t begin, std::uint64_t end, double log_absent,
                                           const Random& key, std::uint64_t block) {
  std::vector<std::uint64_t> found;
  found.reserve(std::min<std::size_t>(end - begin, static_cast<std::size_t>(1.1 * kBlockConnections)));
  std::uint64_t next = begin;
  for (std::uint64_t draw = block << 32;; ++draw) {
    const double uniform = 1.0 - static_cast<double>(key.bits64(draw) >> 11) * 0x1p-53;  // above 0, up to 1
    const double skip = std::floor(std::log(uniform) / log_absent);
    if (skip >= static_cast<double>(end - next)) return found;
    next += static_cast<std::uint64_t>(skip);
    found.push_back(next++);
    if (next == end) return found;
  }
}

}  // namespace

Topology bernoulli_topology(std::int32_t rows, std::int32_t cols, double probability, const Random& key) {
  require(probability >= 0.0 && probability <= 1.0, "bernoulli_topology: a probability is 0 to 1");
  if (probability == 1.0) return full_topology(rows, cols);
  const std::uint64_t cells = cells_of(rows, cols);
  if (probability == 0.0 || cells == 0) return Topology::from_keys(rows, cols, {});
  // Blocks depend on the shape and the probability alone, so that threads change nothing.
  const auto length = static_cast<std::uint64_t>(
      std::clamp(kBlockConnections / probability, 1.0, static_cast<double>(cells)));
  std::vector<std::vector<std::uint64_t>> blocks((cells + length - 1) / length);
  parallel_ranges(std::ssize(blocks), 1, [&](Range range) {
    for (auto b = static_cast<std::uint64_t>(range.begin); b < static_cast<std::uint64_t>(range.end); ++b)
      blocks[b] =
          bernoulli_cells(b * length, std::min((b + 1) * length, cells), std::log1p(-probability), key, b);
  });
  std::size_t count = 0;
  for (const auto& block : blocks) count += block.size();
  RawVector<std::uint64_t> keys(count);
  auto place = keys.begin();
  for (const auto& block : blocks) place = std::ranges::copy(block, place).out;
  blocks.clear();
  return Topology::from_keys(rows, cols, keys);
}

Topology merged_draws_topology(std::int32_t rows, std::int32_t cols, std::int64_t draws, const Random& key) {
  require(draws >= 0, "merged_draws_topology: draws are 0 or more");
  const std::uint64_t cells = cells_of(rows, cols);
  RawVector<std::uint64_t> keys(cells == 0 ? 0 : static_cast<std::size_t>(draws));
  parallel_ranges(std::ssize(keys), 4096, [&](Range range) {
    for (auto i = static_cast<std::uint64_t>(range.begin); i < static_cast<std::uint64_t>(range.end); ++i)
      keys[i] = key.below(cells, i);
  });
  sort_keys(keys, cells);
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return Topology::from_keys(rows, cols, keys);
}

double expected_merged_draws(double cells, double draws) {
  return -cells * std::expm1(draws * std::log1p(-1.0 / cells));
}

}  // namespace tulle

#include "tulle/recover/starts.h"

#include <algorithm>
#include <cmath>

#include "tulle/base/random.h"

namespace tulle {

namespace {

constexpr std::int64_t kFreshStarts = 4;
constexpr std::int64_t kStarts = 40;  // by itself

}  // namespace

std::optional<Start> Starts::next() {
  const std::int64_t k = taken_++;
  const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began_;
  if (k >= (options_.starts == 0 ? kStarts : options_.starts)) return {};
  if (k > 0 && options_.time_limit > 0.0 && passed.count() > options_.time_limit) return {};
  if (k == kFreshStarts) return Start{.number = k, .aiht = true};
  if (k < kFreshStarts) return Start{.number = k, .excess = k % 2 == 0 ? 3.0 : 1.0, .born = k < 2};
  return Start{
      .number = k, .excess = k % 2 == 0 ? 1.5 : 1.2, .leaving = 0.1 * static_cast<double>(1 + k % 3)};
}

std::int64_t graded_nonzeros(double excess, std::int64_t nnz, double phase, std::int64_t most) {
  const double shrink = std::clamp((phase - 0.3) / 0.45, 0.0, 1.0);
  const auto wanted = static_cast<std::int64_t>(
      std::llround(excess * std::pow(1.0 / excess, shrink) * static_cast<double>(nnz)));
  return std::min(std::max(nnz, wanted), most);
}

std::vector<bool> leaving(std::size_t count, double share, std::uint64_t seed, std::int64_t event) {
  const auto alive = static_cast<std::uint32_t>(count);
  const auto out = std::max<std::uint32_t>(2, static_cast<std::uint32_t>(share * alive));
  const std::vector<std::uint32_t> order = random_permutation(
      alive,
      {.seed = seed, .stream = Stream::kGates, .layer = 1, .event = static_cast<std::uint32_t>(event)});
  std::vector<bool> leaves(count, false);
  for (std::uint32_t k = 0; k < std::min(out, alive); ++k) leaves[order[k]] = true;
  return leaves;
}

}  // namespace tulle

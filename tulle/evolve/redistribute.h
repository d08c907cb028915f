#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tulle {

/// How grown connections are shared out among the layers: by a sum over the survivors of each.
enum class Redistribute { kNone, kNonzeros, kMagnitude, kMomentum };
struct RedistributeInfo {
  std::string_view name;
  std::string_view help;
  Redistribute by;
};
std::span<const RedistributeInfo> redistributions();

/// `total` in whole shares, proportional to the weights (alike if all are 0), none above its room: what does
/// not fit is shared out again among the others. The sum is `total`, or all the room there is.
std::vector<std::int64_t> shared_out(std::int64_t total, std::span<const double> weights,
                                     std::span<const std::int64_t> room);

}  // namespace tulle

#include "tulle/evolve/redistribute.h"

#include <algorithm>

namespace tulle {
namespace {

constexpr RedistributeInfo kRedistributions[] = {
    {"none", "every layer grows what it dropped", Redistribute::kNone},
    {"nonzeros", "by the connections that each layer kept", Redistribute::kNonzeros},
    {"magnitude", "by the sum of their magnitudes", Redistribute::kMagnitude},
    {"momentum", "by the sum of what momentum is about to add to them", Redistribute::kMomentum},
};

}  // namespace

std::span<const RedistributeInfo> redistributions() { return kRedistributions; }

std::vector<std::int64_t> shared_out(std::int64_t total, std::span<const double> weights,
                                     std::span<const std::int64_t> room) {
  std::vector<std::int64_t> shares(weights.size(), 0);
  while (total > 0) {
    double sum = 0.0;
    std::int64_t open = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      if (shares[i] >= room[i]) continue;
      sum += weights[i];
      ++open;
    }
    if (open == 0) return shares;
    std::int64_t given = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      if (shares[i] >= room[i]) continue;
      const double share = sum > 0.0 ? weights[i] / sum : 1.0 / static_cast<double>(open);
      const auto wanted = static_cast<std::int64_t>(share * static_cast<double>(total));
      const std::int64_t got = std::min({room[i] - shares[i], wanted, total - given});
      shares[i] += got;
      given += got;
    }
    if (given == 0) {  // less than one each: the heaviest with room, the first of equals, gets one
      std::size_t best = shares.size();
      for (std::size_t i = 0; i < shares.size(); ++i)
        if (shares[i] < room[i] && (best == shares.size() || weights[i] > weights[best])) best = i;
      ++shares[best];
      given = 1;
    }
    total -= given;
  }
  return shares;
}

}  // namespace tulle

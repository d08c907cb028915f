#include <algorithm>
#include <cmath>

#include "tulle/evolve/drop.h"
#include "tulle/sparse/selection.h"

namespace tulle {

// First the connections whose pending momentum step would carry the weight over 0, then the others; the
// weakest first within each group.
void drop_momentum(const DropInput& input, std::span<std::uint8_t> marks) {
  // Groups as signs: what changes its sign counts as negative. -0 would count as the other group.
  std::vector<float> scores(marks.size());
  std::int64_t changing = 0;
  for (std::size_t k = 0; k < scores.size(); ++k) {
    const float now = input.weights[k], next = now + input.pending[k];
    const bool changes = (now > 0.0f && next < 0.0f) || (now < 0.0f && next > 0.0f);
    scores[k] = changes ? -std::abs(now) : std::abs(now);
    changing += changes ? 1 : 0;
  }
  const std::int64_t count = share_of(input.zeta, input.topology.nnz());
  mark_weakest_of_each_sign(scores, std::min(count, changing), std::max<std::int64_t>(count - changing, 0),
                            marks);
}

}  // namespace tulle

#include <algorithm>
#include <atomic>
#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"
#include "tulle/sparse/selection.h"

namespace tulle {

// First the connections whose pending momentum step would carry the weight over 0, then the others; the
// weakest first within each group.
void drop_momentum(const DropInput& input, std::span<std::uint8_t> marks) {
  // Groups as signs: what changes its sign counts as negative. -0 would count as the other group.
  std::vector<float> scores(marks.size());
  std::atomic<std::int64_t> all_changing = 0;
  parallel_ranges(std::ssize(scores), 1 << 14, [&](Range range) {
    std::int64_t here = 0;
    for (auto k = static_cast<std::size_t>(range.begin); k < static_cast<std::size_t>(range.end); ++k) {
      const float now = input.weights[k], next = now + input.pending[k];
      const bool changes = (now > 0.0f && next < 0.0f) || (now < 0.0f && next > 0.0f);
      scores[k] = changes ? -std::abs(now) : std::abs(now);
      here += changes ? 1 : 0;
    }
    all_changing += here;
  });
  const std::int64_t changing = all_changing;
  const std::int64_t count = share_of(input.zeta, input.topology.nnz());
  mark_weakest_of_each_sign(scores, std::min(count, changing), std::max<std::int64_t>(count - changing, 0),
                            marks);
}

}  // namespace tulle

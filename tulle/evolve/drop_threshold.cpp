#include <algorithm>
#include <atomic>
#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"
#include "tulle/sparse/selection.h"

namespace tulle {

void drop_threshold(const DropInput& input, std::span<std::uint8_t> marks) {
  std::vector<float> scores(marks.size());
  const auto limit = static_cast<float>(input.threshold);
  std::atomic<std::int64_t> weak = 0;
  parallel_ranges(std::ssize(scores), 1 << 14, [&](Range range) {
    std::int64_t here = 0;
    for (auto k = static_cast<std::size_t>(range.begin); k < static_cast<std::size_t>(range.end); ++k) {
      scores[k] = std::abs(input.weights[k]);
      here += scores[k] < limit ? 1 : 0;
    }
    weak += here;
  });
  std::int64_t counts[] = {weak, input.topology.nnz()};
  input.share.sum(counts);
  mark_weakest_of_each_sign(scores, 0, std::min(counts[0], share_of(input.zeta, counts[1])), marks,
                            input.share);
}

}  // namespace tulle

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "tulle/base/parallel.h"
#include "tulle/evolve/drop.h"
#include "tulle/sparse/selection.h"

namespace tulle {

// Sparse evolutionary training, Mocanu et al. 2018 (doi:10.1038/s41467-018-04316-3), with exact counts: the
// floor(zeta * m) weakest of the negative and of the non-negative weights go, ties by position.
void drop_set(const DropInput& input, std::span<std::uint8_t> marks) {
  // After a divergence NaN, counted as the strongest, stays where the loss shows it.
  std::atomic<std::int64_t> negative = 0;
  parallel_ranges(std::ssize(input.weights), 1 << 14, [&](Range range) {
    negative +=
        std::count_if(input.weights.begin() + range.begin, input.weights.begin() + range.end, is_negative);
  });
  std::int64_t counts[] = {negative, std::ssize(marks) - negative};
  input.share.sum(counts);
  mark_weakest_of_each_sign(input.weights, share_of(input.zeta, counts[0]), share_of(input.zeta, counts[1]),
                            marks, input.share);
}

}  // namespace tulle

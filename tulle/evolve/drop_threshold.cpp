#include <algorithm>
#include <cmath>

#include "tulle/evolve/drop.h"
#include "tulle/sparse/selection.h"

namespace tulle {

void drop_threshold(const DropInput& input, std::span<std::uint8_t> marks) {
  std::vector<float> scores(marks.size());
  for (std::size_t k = 0; k < scores.size(); ++k) scores[k] = std::abs(input.weights[k]);
  const auto limit = static_cast<float>(input.threshold);
  const auto weak = std::count_if(scores.begin(), scores.end(), [limit](float w) { return w < limit; });
  std::int64_t counts[] = {weak, input.topology.nnz()};
  input.share.sum(counts);
  mark_weakest_of_each_sign(scores, 0, std::min(counts[0], share_of(input.zeta, counts[1])), marks,
                            input.share);
}

}  // namespace tulle

#include "tulle/recover/births.h"

#include <algorithm>
#include <cmath>

#include "tulle/base/parallel.h"
#include "tulle/kernels/gated.h"

namespace tulle {

Births::Births(const Samples& x) : x_(x), norms_(static_cast<std::size_t>(2 * x.features())) {
  score({}, norms_);
  for (double& norm : norms_) norm = std::sqrt(norm);
}

std::vector<Births::Birth> Births::best(std::span<const double> r, bool free_signs,
                                        std::int64_t count) const {
  const std::size_t outputs = r.size() / static_cast<std::size_t>(x_.padded());
  std::vector<double> scores(norms_.size() * outputs);
  score(r, scores);
  const auto rank = [&](const Birth& b) { return free_signs ? std::abs(b.score) : b.score; };
  std::vector<Birth> births;
  for (std::size_t k = 0; k < norms_.size(); ++k) {
    if (!(norms_[k] > 0.0)) continue;
    Birth best{.feature = static_cast<std::int32_t>(k / 2), .direction = k % 2 == 0 ? 1.0 : -1.0};
    for (std::size_t o = 0; o < outputs; ++o) {
      Birth birth = best;
      birth.output = static_cast<std::int32_t>(o);
      birth.score = scores[k * outputs + o] / norms_[k];
      if (o == 0 || rank(birth) > rank(best)) best = birth;
    }
    births.push_back(best);
  }
  std::stable_sort(births.begin(), births.end(),
                   [&](const Birth& a, const Birth& b) { return rank(a) > rank(b); });
  births.resize(std::min(births.size(), static_cast<std::size_t>(count)));
  return births;
}

// sums[(2 c + (direction < 0)) * outputs + o] = <relu(direction x_c), r_o>, or its square with itself if r is
// empty.
void Births::score(std::span<const double> r, std::span<double> sums) const {
  const std::int64_t outputs = r.empty() ? 1 : static_cast<std::int64_t>(r.size()) / x_.padded();
  parallel_ranges(x_.features(), 1, [&](Range features) {
    double t[kernels::kTileRows], gated[kernels::kTileRows];
    std::uint64_t bits[kernels::kTileWords];
    const std::int32_t first = 0;
    for (std::int64_t c = features.begin; c < features.end; ++c) {
      for (const bool up : {true, false}) {
        const double direction = up ? 1.0 : -1.0;
        double* const of_gate = sums.data() + (2 * c + (up ? 0 : 1)) * outputs;
        std::fill_n(of_gate, outputs, 0.0);
        for (std::int64_t i = 0; i < x_.padded(); i += kernels::kTileRows) {
          const std::int64_t rows = std::min(kernels::kTileRows, x_.padded() - i);
          const float* const column = x_.column(c) + i;
          kernels::combine_columns(column, x_.stride(), &first, &direction, 1, rows, t);
          kernels::positive_gates(t, rows, bits);
          for (std::int64_t o = 0; o < outputs; ++o) {
            kernels::gate(r.empty() ? t : r.data() + o * x_.padded() + i, bits, rows, gated);
            kernels::dot_columns(column, x_.stride(), &first, 1, gated, rows, of_gate + o);
          }
        }
        for (std::int64_t o = 0; o < outputs; ++o) of_gate[o] *= direction;
      }
    }
  });
}

}  // namespace tulle

#include "tulle/optim/clipping.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tulle/base/parallel.h"
#include "tulle/optim/optimizer.h"

namespace tulle {

// Scales the gradients down so that their common norm is at most `limit`. Sums go by fixed pieces, so that
// bits do not depend on the number of threads.
void clip_by_norm(std::span<Parameter* const> parameters, double limit) {
  double squares = 0.0;
  for (const Parameter* parameter : parameters) {
    const auto pieces = (static_cast<std::int64_t>(parameter->gradient.size()) + kGrain - 1) / kGrain;
    std::vector<double> sums(static_cast<std::size_t>(pieces), 0.0);
    parallel_ranges(pieces, 1, [&](Range range) {
      for (std::int64_t piece = range.begin; piece < range.end; ++piece) {
        const auto first = static_cast<std::size_t>(piece * kGrain);
        const std::size_t end =
            std::min(first + static_cast<std::size_t>(kGrain), parameter->gradient.size());
        // Eight sums side by side: one alone would wait for each addition.
        std::array<double, 8> lanes{};
        std::size_t i = first;
        for (; i + lanes.size() <= end; i += lanes.size())
          for (std::size_t j = 0; j < lanes.size(); ++j)
            lanes[j] += static_cast<double>(parameter->gradient[i + j]) * parameter->gradient[i + j];
        for (std::size_t j = 0; i < end; ++i, ++j)
          lanes[j] += static_cast<double>(parameter->gradient[i]) * parameter->gradient[i];
        sums[static_cast<std::size_t>(piece)] =
            ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
      }
    });
    for (const double sum : sums) squares += sum;
  }
  const double norm = std::sqrt(squares);
  if (!(norm > limit)) return;
  const auto factor = static_cast<float>(limit / norm);
  for (Parameter* parameter : parameters)
    parallel_ranges(static_cast<std::int64_t>(parameter->gradient.size()), kGrain, [&](Range range) {
      for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
        parameter->gradient[i] *= factor;
    });
}

// Without the sign, floats are ordered as their bits are, NaN after infinity; whole numbers compare in
// vectors.
float largest_magnitude(std::span<const float> values) {
  std::int32_t largest = 0;
  for (const float value : values)
    largest = std::max(largest, std::bit_cast<std::int32_t>(value) & 0x7fffffff);
  return std::bit_cast<float>(largest);
}

void clip_by_value(std::span<Parameter* const> parameters, float limit) {
  for (Parameter* parameter : parameters)
    parallel_ranges(static_cast<std::int64_t>(parameter->gradient.size()), kGrain, [&](Range range) {
      for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
        parameter->gradient[i] = std::clamp(parameter->gradient[i], -limit, limit);  // NaN stays
    });
}

}  // namespace tulle

#include "tulle/recover/coordinates.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tulle/base/check.h"
#include "tulle/base/parallel.h"
#include "tulle/base/random.h"

namespace tulle {

Samples pixel_samples(const ImageShape& shape, const CoordinateOptions& options) {
  require(shape.channels > 0 && shape.height > 0 && shape.width > 0 && options.frequencies > 0,
          "pixels, found none");
  const bool colour = shape.channels > 1;
  const double side = std::max(shape.height, shape.width);
  const double sigma = options.sigma > 0.0 ? options.sigma
                       : !options.integer  ? side / 4.0
                       : colour            ? 5.0
                                           : 2.0;
  const std::int64_t pixels = std::int64_t{shape.height} * shape.width;
  Samples x(pixels * shape.channels, static_cast<std::int32_t>(2 * options.frequencies));
  const Random random{.seed = options.seed, .stream = Stream::kFourier};
  parallel_ranges(options.frequencies, 1, [&](Range range) {
    for (std::int64_t f = range.begin; f < range.end; ++f) {
      const auto at = static_cast<std::uint64_t>(3 * f);
      const double down = sigma * static_cast<double>(random.normal(at)),
                   across = sigma * static_cast<double>(random.normal(at + 1));
      const double deep = colour ? options.channel_sigma * static_cast<double>(random.normal(at + 2)) : 0.0;
      float* const sine = x.column(f);
      float* const cosine = x.column(options.frequencies + f);
      for (std::int64_t i = 0; i < x.count(); ++i) {
        const auto row = static_cast<double>(i % pixels / shape.width),
                   column = static_cast<double>(i % shape.width);
        const double y = options.integer ? row : (row + 0.5) / shape.height,
                     z = options.integer ? column : (column + 0.5) / shape.width;
        const double cycles = down * y + across * z + deep * static_cast<double>(i / pixels);
        const double phase = 2.0 * std::numbers::pi * (cycles - std::floor(cycles));
        sine[i] = static_cast<float>(std::sin(phase));
        cosine[i] = static_cast<float>(std::cos(phase));
      }
    }
  });
  return x;
}

}  // namespace tulle

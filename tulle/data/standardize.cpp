#include "tulle/data/standardize.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tulle/base/check.h"
#include "tulle/base/error.h"
#include "tulle/base/parallel.h"

namespace tulle {
namespace {

// 1 / deviation has to be finite, and no denormal is left when a kernel reads it.
float usable(double deviation) {
  const auto value = static_cast<float>(deviation);
  return value >= std::numeric_limits<float>::min() ? value : 0.0f;
}

// body(feature, value as double) for all values. A thread has a range of features and goes through their
// samples in order, so no sum depends on the number of threads.
template <class Vector, class Body>
void for_values(const Vector& values, std::size_t features, const Body& body) {
  const std::size_t samples = values.size() / features;
  parallel_ranges(static_cast<std::int64_t>(features), 64, [&](Range range) {
    for (std::size_t row = 0; row < samples; ++row)
      for (auto f = static_cast<std::size_t>(range.begin); f < static_cast<std::size_t>(range.end); ++f)
        body(f, static_cast<double>(values[row * features + f]));
  });
}

template <class Vector>
void fit_standard(const Vector& values, std::size_t features, Scaling& scaling) {
  const std::size_t rows = values.size() / features;
  const auto samples = static_cast<double>(rows);
  std::vector<double> mean(features, 0.0), squares(features, 0.0);
  for_values(values, features, [&](std::size_t f, double x) { mean[f] += x; });
  for (double& sum : mean) sum /= samples;
  for_values(values, features, [&](std::size_t f, double x) { squares[f] += (x - mean[f]) * (x - mean[f]); });
  for (std::size_t f = 0; f < features; ++f) {
    scaling.mean[f] = static_cast<float>(mean[f]);
    scaling.deviation[f] = usable(std::sqrt(squares[f] / samples));
  }
}

template <class Vector>
void fit_minmax(const Vector& values, std::size_t features, Scaling& scaling) {
  std::vector<double> low(features, HUGE_VAL), high(features, -HUGE_VAL);
  for_values(values, features, [&](std::size_t f, double x) {
    low[f] = std::min(low[f], x);
    high[f] = std::max(high[f], x);
  });
  for (std::size_t f = 0; f < features; ++f) {
    scaling.mean[f] = static_cast<float>(low[f]);
    scaling.deviation[f] = usable(high[f] - low[f]);
  }
}

template <class Vector>
void fit_maxabs(const Vector& values, std::size_t features, Scaling& scaling) {
  std::vector<double> high(features, 0.0);
  for_values(values, features, [&](std::size_t f, double x) { high[f] = std::max(high[f], std::abs(x)); });
  for (std::size_t f = 0; f < features; ++f) scaling.deviation[f] = usable(high[f]);
}

// What is not stored is 0 and counts. Two passes: a difference of sums of squares is not 0 for equal values.
void fit_sparse(const Features& train, bool by_deviation, Scaling& scaling) {
  const auto features = static_cast<std::size_t>(train.features);
  const auto for_stored = [&](const auto& body) {
    for (std::size_t k = 0; k < train.sparse.columns.size(); ++k)
      body(static_cast<std::size_t>(train.sparse.columns[k]), static_cast<double>(train.sparse.values[k]));
  };
  if (!by_deviation) {
    std::vector<double> largest(features, 0.0);
    for_stored([&](std::size_t f, double x) { largest[f] = std::max(largest[f], std::abs(x)); });
    for (std::size_t f = 0; f < features; ++f) scaling.deviation[f] = usable(largest[f]);
    return;
  }
  const auto samples = static_cast<double>(train.samples);
  std::vector<double> mean(features, 0.0), squares(features, 0.0), stored(features, 0.0);
  for_stored([&](std::size_t f, double x) { mean[f] += x, ++stored[f]; });
  for (double& sum : mean) sum /= samples;
  for_stored([&](std::size_t f, double x) { squares[f] += (x - mean[f]) * (x - mean[f]); });
  for (std::size_t f = 0; f < features; ++f)
    scaling.deviation[f] =
        usable(std::sqrt((squares[f] + (samples - stored[f]) * mean[f] * mean[f]) / samples));
}

// Samples are made twice, a few at a time: means, then deviations.
void fit_generated(const Features& train, Scaling& scaling) {
  constexpr std::size_t kRows = 64;
  const auto features = static_cast<std::size_t>(train.features);
  const std::vector<std::uint32_t>& samples = train.generated.samples;
  std::vector<float> rows(std::min(kRows, samples.size()) * features);
  const auto for_rows = [&](const auto& body) {
    for (std::size_t first = 0; first < samples.size(); first += kRows) {
      const std::size_t count = std::min(kRows, samples.size() - first);
      rows.resize(count * features);
      parallel_ranges(static_cast<std::int64_t>(count), 1, [&](Range range) {
        for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
          train.generated.source->row(samples[first + i], std::span(rows).subspan(i * features, features));
      });
      for_values(rows, features, body);
    }
  };
  std::vector<double> mean(features, 0.0), squares(features, 0.0);
  for_rows([&](std::size_t f, double x) { mean[f] += x; });
  for (double& sum : mean) sum /= static_cast<double>(samples.size());
  for_rows([&](std::size_t f, double x) { squares[f] += (x - mean[f]) * (x - mean[f]); });
  for (std::size_t f = 0; f < features; ++f) {
    scaling.mean[f] = static_cast<float>(mean[f]);
    scaling.deviation[f] = usable(std::sqrt(squares[f] / static_cast<double>(samples.size())));
  }
}

// Of images whose values are 0 to 1; arXiv 2109.05422's code, and most others', have these.
constexpr float kImageNetMean[] = {0.485f, 0.456f, 0.406f}, kImageNetDeviation[] = {0.229f, 0.224f, 0.225f};

using Fit = void (*)(const Features&, std::size_t, Scaling&);

struct Kind {
  std::string_view name;
  Fit dense;  // null: the deviation is 255
};

constexpr Kind kKinds[] = {
    {"unit", nullptr},
    {"standard",
     [](const Features& train, std::size_t features, Scaling& scaling) {
       train.floats.empty() ? fit_standard(train.bytes, features, scaling)
                            : fit_standard(train.floats, features, scaling);
     }},
    {"minmax",
     [](const Features& train, std::size_t features, Scaling& scaling) {
       train.floats.empty() ? fit_minmax(train.bytes, features, scaling)
                            : fit_minmax(train.floats, features, scaling);
     }},
    {"maxabs",
     [](const Features& train, std::size_t features, Scaling& scaling) {
       train.floats.empty() ? fit_maxabs(train.bytes, features, scaling)
                            : fit_maxabs(train.floats, features, scaling);
     }},
};

// Mean and deviation of each channel over all pixels: what a shifted image still fits.
void share_in_channels(const ImageShape& image, Scaling& scaling) {
  const auto plane = static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width);
  for (std::size_t first = 0; first < scaling.mean.size(); first += plane) {
    double mean = 0.0, square = 0.0;
    for (std::size_t f = first; f < first + plane; ++f) {
      const double m = scaling.mean[f], d = scaling.deviation[f];
      mean += m / static_cast<double>(plane);
      square += (m * m + d * d) / static_cast<double>(plane);
    }
    const double deviation = usable(std::sqrt(std::max(square - mean * mean, 0.0)));
    std::fill_n(scaling.mean.begin() + static_cast<std::ptrdiff_t>(first), plane, static_cast<float>(mean));
    std::fill_n(scaling.deviation.begin() + static_cast<std::ptrdiff_t>(first), plane,
                static_cast<float>(deviation));
  }
}

// One deviation for all features that vary.
void share_deviation(Scaling& scaling) {
  double square = 0.0;
  for (const float d : scaling.deviation)
    square += double{d} * d / static_cast<double>(scaling.deviation.size());
  const float deviation = usable(std::sqrt(square));
  for (float& d : scaling.deviation) d = d > 0.0f ? deviation : 0.0f;
}

}  // namespace

Scaling fit_scaling(const std::string& kind, const Features& train, const ImageShape& image) {
  if (kind == "channel" &&
      (train.is_sparse() || std::int64_t{image.channels} * image.height * image.width != train.features))
    throw Error(ErrorKind::kConfig,
                "data.scale, found 'channel', expected another for data that are no images");
  if (kind == "channel" || kind == "center") {
    Scaling scaling = fit_scaling("standard", train);
    scaling.kind = kind;
    kind == "channel" ? share_in_channels(image, scaling) : share_deviation(scaling);
    return scaling;
  }
  Scaling scaling{.kind = kind, .mean = {}, .deviation = {}};
  if (kind == "none") return scaling;
  if (kind == "imagenet") {
    if (image.channels != 3)
      throw Error(ErrorKind::kConfig,
                  "data.scale, found 'imagenet', expected another for data that are no colour images");
    const auto plane = static_cast<std::size_t>(image.height) * static_cast<std::size_t>(image.width);
    for (std::size_t c = 0; c < 3; ++c) {
      scaling.mean.insert(scaling.mean.end(), plane, 255.0f * kImageNetMean[c]);
      scaling.deviation.insert(scaling.deviation.end(), plane, 255.0f * kImageNetDeviation[c]);
    }
    return scaling;
  }
  if (train.is_generated() && kind != "standard" && !(kind == "unit" && image.channels > 0))
    throw Error(ErrorKind::kConfig, fmt::format("data.scale, found '{}', expected none, standard or center "
                                                "(of images unit, channel or imagenet too) for "
                                                "samples that are not stored",
                                                kind));
  require(train.samples > 0 && train.features > 0, "fit_scaling: there must be training data");
  const auto features = static_cast<std::size_t>(train.features);
  scaling.mean.assign(features, 0.0f);
  scaling.deviation.assign(features, 255.0f);
  const auto known = std::ranges::find(kKinds, kind, &Kind::name);
  if (known != std::end(kKinds)) {
    if (train.is_generated() && known->dense != nullptr)
      fit_generated(train, scaling);
    else if (known->dense != nullptr && train.is_sparse())
      fit_sparse(train, kind == "standard", scaling);
    else if (known->dense != nullptr)
      known->dense(train, features, scaling);
    return scaling;
  }
  throw Error(ErrorKind::kConfig,
              fmt::format("data.scale, found '{}', expected one of {}", kind, fmt::join(kScalings, ", ")));
}

}  // namespace tulle

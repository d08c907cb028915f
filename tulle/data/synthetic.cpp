#include "tulle/data/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <utility>

#include "tulle/base/error.h"
#include "tulle/base/random.h"
#include "tulle/sparse/sampling.h"

namespace tulle {
namespace {

// What each number is for, within Stream::kData.
enum Purpose : std::uint32_t { kNoise, kCluster, kPoint, kShape, kRedundancy, kFlip, kPosition, kCentre };

Random random_for(std::uint64_t seed, Purpose purpose, std::uint32_t event = 0) {
  return {.seed = seed, .stream = Stream::kData, .layer = purpose, .event = event};
}

// Polynomials of our own in plain floats, so that the loops below are done in vectors and give the same bits
// on every processor. Errors are below 1e-6.
float log_of(float u) {  // u in (0, 1]
  const std::int32_t bits = std::bit_cast<std::int32_t>(u);
  const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;  // so that the rest is in [sqrt(1/2), sqrt(2))
  const float m = std::bit_cast<float>(bits - exponent * (1 << 23)) - 1.0f;
  // Minimax on that interval: log(1 + m) = m - m^2 / 2 + m^3 p(m).
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  return m - 0.5f * m * m + m * m * m * p + static_cast<float>(exponent) * 0.69314718056f;
}

// Two normal numbers from two words: Box-Muller, the angle as a quarter turn and the rest in [-pi/4, pi/4).
void normal_pair(std::uint32_t word, std::uint32_t angle, float& first, float& second) {
  const float radius = std::sqrt(-2.0f * log_of(static_cast<float>((word >> 8) + 1) * 0x1p-24f));
  const float t = static_cast<float>(static_cast<std::int32_t>(angle << 2)) * (0x1p-31f * 0.78539816340f);
  const float t2 = t * t;
  const float sine = t + t * t2 * (-1.6666654611e-1f + t2 * (8.3321608736e-3f - t2 * 1.9515295891e-4f));
  const float cosine =
      1.0f - 0.5f * t2 +
      t2 * t2 * (4.166664568298827e-2f + t2 * (-1.388731625493765e-3f + t2 * 2.443315711809948e-5f));
  const std::uint32_t quarter = angle >> 30;
  const float c = (quarter & 1) != 0 ? sine : cosine, s = (quarter & 1) != 0 ? cosine : sine;
  first = radius * (((quarter + 1) & 2) != 0 ? -c : c);
  second = radius * ((quarter & 2) != 0 ? -s : s);
}

// Standard normal numbers, `out.size()` of them, from the place `first` on; four of each place.
void draw_normals(const Random& random, std::uint64_t first, std::span<float> out) {
  constexpr std::size_t kPlaces = 64;
  std::array<std::uint32_t, 4 * kPlaces> words;
  std::array<float, 4 * kPlaces> numbers;
  for (std::size_t done = 0; done < out.size(); done += numbers.size(), first += kPlaces) {
    for (std::size_t i = 0; i < kPlaces; ++i) {
      const auto four = random.words(first + i);
      std::ranges::copy(four, words.begin() + static_cast<std::ptrdiff_t>(4 * i));
    }
    for (std::size_t i = 0; i < numbers.size(); i += 2)
      normal_pair(words[i], words[i + 1], numbers[i], numbers[i + 1]);
    std::copy_n(numbers.begin(), std::min(numbers.size(), out.size() - done),
                out.begin() + static_cast<std::ptrdiff_t>(done));
  }
}

void draw_uniform(const Random& random, std::vector<float>& out) {  // in [-1, 1)
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = 2.0f * random.uniform(i) - 1.0f;
}

void check(const SyntheticOptions& o) {
  if (o.features < o.informative + std::int64_t{o.redundant})
    throw Error(
        ErrorKind::kConfig,
        fmt::format("data.features, found {}, expected at least {}, the informative and the redundant",
                    o.features, o.informative + std::int64_t{o.redundant}));
  const std::int64_t clusters = std::int64_t{o.classes} * o.clusters;
  if (o.informative < 62 && clusters > std::int64_t{1} << o.informative)
    throw Error(
        ErrorKind::kConfig,
        fmt::format("synthetic.clusters, found {} for each of {} classes, expected at most {} in all, the "
                    "corners of {} informative features",
                    o.clusters, o.classes, std::int64_t{1} << o.informative, o.informative));
  // In doubles, which do not overflow.
  constexpr double kMostBytes = 0x1p34;
  const double informative = o.informative, shapes = static_cast<double>(clusters) * (informative + 1.0);
  const double bytes = sizeof(float) * informative * (shapes + o.redundant);
  if (bytes > kMostBytes)
    throw Error(
        ErrorKind::kConfig,
        fmt::format("synthetic.informative, found {} with {} clusters in all and {} redundant features, "
                    "which take {:.0f} bytes, expected at most {:.0f}",
                    o.informative, clusters, o.redundant, bytes, kMostBytes));
}

}  // namespace

SyntheticTask::SyntheticTask(const SyntheticOptions& options) : options_(options) {
  check(options);
  const auto informative = static_cast<std::size_t>(options.informative);
  const auto clusters =
      static_cast<std::size_t>(options.classes) * static_cast<std::size_t>(options.clusters);
  // Distinct corners of the cube: the first 63 bits by a bijection, the rest drawn.
  const int bits = std::min(options.informative, 63);
  const Bijection corner(std::uint64_t{1} << bits, random_for(options.seed, kCentre));
  for (std::size_t c = 0; c < clusters; ++c)
    for (std::size_t i = 0; i < informative; ++i) {
      const std::uint64_t drawn = random_for(options.seed, kCentre, 1).bits64(c * informative + i);
      const bool up = std::cmp_less(i, bits) ? (corner(c) >> i & 1) != 0 : (drawn & 1) != 0;
      centres_.push_back(static_cast<float>(up ? options.separation : -options.separation));
    }
  shapes_.resize(clusters * informative * informative);
  draw_uniform(random_for(options.seed, kShape), shapes_);
  redundancy_.resize(informative * static_cast<std::size_t>(options.redundant));
  draw_uniform(random_for(options.seed, kRedundancy), redundancy_);
  positions_ =
      random_permutation(static_cast<std::uint32_t>(options.features), random_for(options.seed, kPosition));
}

std::int32_t SyntheticTask::label(std::uint32_t sample) const {
  const Random flip = random_for(options_.seed, kFlip);
  const auto classes = static_cast<std::uint64_t>(options_.classes);
  if (static_cast<double>(flip.uniform(2 * std::uint64_t{sample})) < options_.flip)
    return static_cast<std::int32_t>(flip.below(classes, 2 * std::uint64_t{sample} + 1));
  return static_cast<std::int32_t>(sample % classes);
}

void SyntheticTask::row(std::uint32_t sample, std::span<float> out) const {
  const auto informative = static_cast<std::size_t>(options_.informative);
  const auto redundant = static_cast<std::size_t>(options_.redundant);
  const auto of_class = static_cast<std::uint64_t>(options_.clusters);
  const std::size_t cluster = sample % static_cast<std::uint32_t>(options_.classes) * of_class +
                              random_for(options_.seed, kCluster).below(of_class, sample);
  std::vector<float> x(centres_.begin() + static_cast<std::ptrdiff_t>(cluster * informative),
                       centres_.begin() + static_cast<std::ptrdiff_t>((cluster + 1) * informative));
  std::vector<float> point(informative), noise(out.size() - informative - redundant);
  draw_normals(random_for(options_.seed, kPoint, sample), 0, point);
  draw_normals(random_for(options_.seed, kNoise, sample), 0, noise);
  const float* const shape = shapes_.data() + cluster * informative * informative;
  for (std::size_t i = 0; i < informative; ++i)
    for (std::size_t j = 0; j < informative; ++j) x[j] += point[i] * shape[i * informative + j];
  std::size_t feature = 0;
  const auto put = [&](float value) { out[positions_[feature++]] = value; };
  for (const float value : x) put(value);
  for (std::size_t j = 0; j < redundant; ++j) {
    float sum = 0.0f;
    for (std::size_t i = 0; i < informative; ++i) sum += x[i] * redundancy_[i * redundant + j];
    put(sum);
  }
  for (const float value : noise) put(value);
}

namespace {

Split split_of(const std::shared_ptr<const SyntheticTask>& task, std::int32_t features, std::int64_t first,
               std::int64_t samples) {
  Split split;
  split.inputs.samples = samples;
  split.inputs.features = features;
  split.inputs.generated.source = task;
  split.inputs.generated.samples.resize(static_cast<std::size_t>(samples));
  std::iota(split.inputs.generated.samples.begin(), split.inputs.generated.samples.end(),
            static_cast<std::uint32_t>(first));
  for (const std::uint32_t sample : split.inputs.generated.samples)
    split.classes.push_back(task->label(sample));
  return split;
}

}  // namespace

Dataset synthetic_dataset(const SyntheticOptions& options) {
  const auto task = std::make_shared<const SyntheticTask>(options);
  Dataset data;
  data.train = split_of(task, options.features, 0, options.samples);
  data.test = split_of(task, options.features, options.samples, options.test_samples);
  for (std::int32_t c = 0; c < options.classes; ++c) data.class_names.push_back(std::to_string(c));
  data.description = "synthetic";
  return data;
}

}  // namespace tulle

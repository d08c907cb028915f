#include "tulle/data/augment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>

#include "tulle/base/error.h"

namespace tulle {
namespace {

[[noreturn]] void refuse_step(const std::string& text) {
  throw Error(
      ErrorKind::kConfig,
      fmt::format("data.augment, found '{}', expected hflip, shift:SHARE (0 to 0.5), rotate:DEGREES "
                  "(0 to 180), crop:SHARE, erase:PROBABILITY, mixup:ALPHA or cutmix:ALPHA (above 0, up to 1)",
                  text));
}

// From the place of a pixel of the output to that in the image: x' = xx x + xy y + x0, y' = yx x + yy y + y0.
struct Map {
  double xx = 1.0, xy = 0.0, x0 = 0.0, yx = 0.0, yy = 1.0, y0 = 0.0;

  bool whole() const {
    return std::abs(xx) == 1.0 && yy == 1.0 && xy == 0.0 && yx == 0.0 && x0 == std::floor(x0) &&
           y0 == std::floor(y0);
  }
};

Map draw_map(const ImageShape& shape, const Augmentation& how, const Random& random, std::uint64_t index) {
  const double w = shape.width, h = shape.height;
  const auto uniform = [&](std::uint64_t k) { return static_cast<double>(random.uniform(index + k)); };
  double cut_w = w, cut_h = h, left = 0.0, top = 0.0;  // the part that fills the image
  if (how.crop < 1.0) {
    const double area = how.crop + (1.0 - how.crop) * uniform(0);
    const double ratio = std::exp((2.0 * uniform(1) - 1.0) * std::log(4.0 / 3.0));
    cut_w = std::min(w, w * std::sqrt(area * ratio));
    cut_h = std::min(h, h * std::sqrt(area / ratio));
    left = uniform(2) * (w - cut_w);
    top = uniform(3) * (h - cut_h);
  }
  const auto pixels = [&](double side, std::uint64_t k) {
    const auto most = static_cast<double>(std::lround(how.shift * side));
    return std::floor(uniform(k) * (2.0 * most + 1.0)) - most;
  };
  if (how.shift > 0.0) left += pixels(w, 4), top += pixels(h, 5);
  Map map{.xx = cut_w / w, .x0 = left, .yy = cut_h / h, .y0 = top};
  if (map.xx != 1.0) map.x0 += 0.5 * map.xx - 0.5;  // places are those of the middles of pixels
  if (map.yy != 1.0) map.y0 += 0.5 * map.yy - 0.5;
  if (how.rotate > 0.0) {
    const double angle = (2.0 * uniform(6) - 1.0) * how.rotate * std::numbers::pi / 180.0;
    const double c = std::cos(angle), s = std::sin(angle), mx = 0.5 * (w - 1.0), my = 0.5 * (h - 1.0);
    // First turned about the middle of the output, then mapped as before.
    const Map straight = map;
    map.xx = straight.xx * c, map.xy = -straight.xx * s;
    map.yx = straight.yy * s, map.yy = straight.yy * c;
    map.x0 = straight.x0 + straight.xx * (mx - c * mx + s * my);
    map.y0 = straight.y0 + straight.yy * (my - s * mx - c * my);
  }
  if (how.flip && uniform(7) < 0.5) {
    map.x0 += map.xx * (w - 1.0), map.y0 += map.yx * (w - 1.0);
    map.xx = -map.xx, map.yx = -map.yx;
  }
  return map;
}

template <class T>
void apply(const T* image, const ImageShape& shape, const Map& map, float* out) {
  const int w = shape.width, h = shape.height;
  const std::int64_t plane = std::int64_t{w} * h;
  const auto at = [&](const T* channel, int x, int y) {
    return x >= 0 && x < w && y >= 0 && y < h ? static_cast<float>(channel[std::int64_t{y} * w + x]) : 0.0f;
  };
  const bool whole = map.whole();
  for (int c = 0; c < shape.channels; ++c, image += plane)
    for (int y = 0; y < h; ++y)
      for (int x = 0; x < w; ++x, ++out) {
        const double from_x = map.xx * x + map.xy * y + map.x0, from_y = map.yx * x + map.yy * y + map.y0;
        const double low_x = std::floor(from_x), low_y = std::floor(from_y);
        const int ix = static_cast<int>(low_x), iy = static_cast<int>(low_y);
        if (whole) {
          *out = at(image, ix, iy);
          continue;
        }
        const auto fx = static_cast<float>(from_x - low_x), fy = static_cast<float>(from_y - low_y);
        const float above = at(image, ix, iy) + fx * (at(image, ix + 1, iy) - at(image, ix, iy));
        const float below = at(image, ix, iy + 1) + fx * (at(image, ix + 1, iy + 1) - at(image, ix, iy + 1));
        *out = above + fy * (below - above);
      }
}

void erase_box(const ImageShape& shape, double probability, Random random, std::uint64_t index,
               float* image) {
  random.layer = 2;
  const auto uniform = [&](std::uint64_t k) { return static_cast<double>(random.uniform(index + k)); };
  if (uniform(0) >= probability) return;
  constexpr double kLeast = 0.02, kMost = 1.0 / 3.0, kOblong = 10.0 / 3.0;
  const double w = shape.width, h = shape.height, area = (kLeast + (kMost - kLeast) * uniform(1)) * w * h;
  const double ratio = std::exp((2.0 * uniform(2) - 1.0) * std::log(kOblong));
  const auto place = [&](int length, double side, std::uint64_t k) {
    const int size = static_cast<int>(std::clamp(std::lround(side), 1L, static_cast<long>(length)));
    const int begin = static_cast<int>(uniform(k) * (length - size + 1));
    return std::pair(begin, begin + size);
  };
  const auto [left, right] = place(shape.width, std::sqrt(area * ratio), 3);
  const auto [top, bottom] = place(shape.height, std::sqrt(area / ratio), 4);
  random.layer = 3;
  const std::int64_t plane = std::int64_t{shape.width} * shape.height;
  const auto pixels = static_cast<std::uint64_t>(plane);
  for (int y = top; y < bottom; ++y)
    for (int x = left; x < right; ++x) {
      const std::int64_t to = std::int64_t{y} * shape.width + x;
      const auto from = static_cast<std::int64_t>(
          random.below(pixels, index / 8 * pixels + static_cast<std::uint64_t>(to)));
      for (int c = 0; c < shape.channels; ++c) image[c * plane + to] = image[c * plane + from];
    }
}

}  // namespace

Augmentation parse_augmentation(std::span<const std::string> texts) {
  Augmentation how;
  for (const std::string& text : texts) {
    if (text == "hflip") {
      how.flip = true;
      continue;
    }
    const std::size_t colon = std::min(text.find(':'), text.size());
    const std::string name = text.substr(0, colon);
    double value = -1.0;
    const char* const begin = text.data() + std::min(colon + 1, text.size());
    const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || !(value >= 0.0)) refuse_step(text);
    if (name == "shift" && value <= 0.5)
      how.shift = value;
    else if (name == "rotate" && value <= 180.0)
      how.rotate = value;
    else if (name == "crop" && value > 0.0 && value <= 1.0)
      how.crop = value;
    else if (name == "erase" && value > 0.0 && value <= 1.0)
      how.erase = value;
    else if (name == "mixup" && value > 0.0 && value <= 1.0)
      how.mixup = value;
    else if (name == "cutmix" && value > 0.0 && value <= 1.0)
      how.cutmix = value;
    else
      refuse_step(text);
  }
  return how;
}

void augment(const Features& images, std::int64_t sample, const ImageShape& shape, const Augmentation& how,
             const Random& random, std::uint64_t index, float* out) {
  const Map map = draw_map(shape, how, random, index);
  const auto first = static_cast<std::size_t>(sample * images.features);
  if (images.is_generated()) {
    thread_local std::vector<float> made;
    made.resize(static_cast<std::size_t>(images.features));
    images.generated.source->row(images.generated.samples[static_cast<std::size_t>(sample)], made);
    apply(made.data(), shape, map, out);
  } else if (images.floats.empty()) {
    apply(images.bytes.data() + first, shape, map, out);
  } else {
    apply(images.floats.data() + first, shape, map, out);
  }
  if (how.erase > 0.0) erase_box(shape, how.erase, random, index, out);
}

namespace {

// Beta(alpha, alpha) for alpha up to 1 by Joehnk's way: two powers of uniform numbers until their sum is at
// most 1.
double draw_beta(double alpha, const Random& random, std::uint64_t index) {
  for (;; index += 2) {
    const double u = static_cast<double>(random.uniform(index));
    const double v = static_cast<double>(random.uniform(index + 1));
    const double x = std::pow(u, 1.0 / alpha), y = std::pow(v, 1.0 / alpha);
    if (x + y > 0.0 && x + y <= 1.0) return x / (x + y);
    if (x + y == 0.0 && u != v) return u > v ? 1.0 : 0.0;  // both underflow: one is nothing beside the other
  }
}

}  // namespace

ImageMix draw_mix(const ImageShape& shape, const Augmentation& how, const Random& random,
                  std::uint64_t index) {
  ImageMix mix;
  mix.box = how.mixup == 0.0 || (how.cutmix > 0.0 && random.uniform(index) < 0.5f);
  const double share = draw_beta(mix.box ? how.cutmix : how.mixup, random, index + 3);
  mix.share = static_cast<float>(share);
  if (!mix.box) return mix;
  const double side = std::sqrt(1.0 - share);
  const auto cut = [&](int length, std::uint64_t k, int& begin, int& end) {
    const double middle = static_cast<double>(random.uniform(index + k)) * length, half = 0.5 * side * length;
    begin = static_cast<int>(std::clamp(std::lround(middle - half), 0L, static_cast<long>(length)));
    end = static_cast<int>(std::clamp(std::lround(middle + half), 0L, static_cast<long>(length)));
  };
  cut(shape.height, 1, mix.top, mix.bottom);
  cut(shape.width, 2, mix.left, mix.right);
  const double area = static_cast<double>(mix.bottom - mix.top) * (mix.right - mix.left);
  mix.share = static_cast<float>(1.0 - area / (static_cast<double>(shape.height) * shape.width));
  return mix;
}

void mix(const ImageMix& how, const ImageShape& shape, float* first, float* second) {
  const std::int64_t plane = std::int64_t{shape.height} * shape.width;
  if (!how.box) {
    for (std::int64_t i = 0; i < plane * shape.channels; ++i) {
      const float a = first[i], b = second[i];
      first[i] = b + how.share * (a - b);
      second[i] = a + how.share * (b - a);
    }
    return;
  }
  for (int c = 0; c < shape.channels; ++c)
    for (int row = how.top; row < how.bottom; ++row) {
      const std::int64_t at = c * plane + std::int64_t{row} * shape.width;
      std::swap_ranges(first + at + how.left, first + at + how.right, second + at + how.left);
    }
}

}  // namespace tulle

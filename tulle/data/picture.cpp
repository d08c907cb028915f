#include "tulle/data/picture.h"

#include <algorithm>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb/stb_image_write.h>
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#include <stb/stb_image_resize.h>
#pragma GCC diagnostic pop

#include "tulle/base/check.h"

namespace tulle {

namespace {

void append(void* text, void* bytes, int count) {
  static_cast<std::string*>(text)->append(static_cast<const char*>(bytes), static_cast<std::size_t>(count));
}

// Pixel after pixel, as the encoders want them.
std::vector<std::uint8_t> interleaved(const Picture& picture) {
  const auto channels = static_cast<std::size_t>(picture.shape.channels);
  const std::size_t pixels = picture.bytes.size() / channels;
  std::vector<std::uint8_t> out(picture.bytes.size());
  for (std::size_t c = 0; c < channels; ++c)
    for (std::size_t p = 0; p < pixels; ++p) out[p * channels + c] = picture.bytes[c * pixels + p];
  return out;
}

}  // namespace

Picture crop(const Picture& picture, int side) {
  if (side == 0) return picture;
  const ImageShape& from = picture.shape;
  Picture part{.shape = {from.channels, std::min(side, from.height), std::min(side, from.width)},
               .bytes = {}};
  for (int c = 0; c < from.channels; ++c)
    for (int row = 0; row < part.shape.height; ++row) {
      const auto begin = picture.bytes.begin() + (std::int64_t{c} * from.height + row) * from.width;
      part.bytes.insert(part.bytes.end(), begin, begin + part.shape.width);
    }
  return part;
}

Picture fit_square(const Picture& picture, int side, int channels) {
  const ImageShape& from = picture.shape;
  require(side > 0 && (channels == from.channels || from.channels == 1),
          "fit_square: a coloured picture cannot become gray");
  const int shorter = std::min(from.height, from.width);
  const auto scaled = [&](int length) {
    return std::max(side, static_cast<int>((std::int64_t{length} * side + shorter / 2) / shorter));
  };
  const int height = scaled(from.height), width = scaled(from.width);
  const int top = (height - side) / 2, left = (width - side) / 2;
  Picture out{.shape = {channels, side, side}, .bytes = {}};
  std::vector<std::uint8_t> plane(static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
  for (int c = 0; c < channels; ++c) {
    const int source = std::min(c, from.channels - 1);
    const std::uint8_t* const in = picture.bytes.data() + std::int64_t{source} * from.height * from.width;
    if (height == from.height && width == from.width)
      std::copy_n(in, plane.size(), plane.begin());
    else if (stbir_resize_uint8(in, from.width, from.height, 0, plane.data(), width, height, 0, 1) == 0)
      throw std::bad_alloc();
    for (int row = top; row < top + side; ++row) {
      const auto begin = plane.begin() + std::int64_t{row} * width + left;
      out.bytes.insert(out.bytes.end(), begin, begin + side);
    }
  }
  return out;
}

std::string encode_png(const Picture& picture) {
  std::string out;
  const std::vector<std::uint8_t> pixels = interleaved(picture);
  stbi_write_png_to_func(append, &out, picture.shape.width, picture.shape.height, picture.shape.channels,
                         pixels.data(), picture.shape.width * picture.shape.channels);
  return out;
}

std::string encode_jpeg(const Picture& picture, int quality) {
  std::string out;
  const std::vector<std::uint8_t> pixels = interleaved(picture);
  stbi_write_jpg_to_func(append, &out, picture.shape.width, picture.shape.height, picture.shape.channels,
                         pixels.data(), quality);
  return out;
}

}  // namespace tulle

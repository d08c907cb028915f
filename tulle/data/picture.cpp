#include "tulle/data/picture.h"

#include <algorithm>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

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

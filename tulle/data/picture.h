#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tulle/data/dataset.h"

namespace tulle {

/// One image: bytes plane after plane, row by row.
struct Picture {
  ImageShape shape;
  std::vector<std::uint8_t> bytes;
};

/// The size and channels, 1 or 3, that a JPEG or PNG file's header tells. Throws as decode_picture().
ImageShape shape_of_picture(std::span<const std::byte> content, const std::string& file,
                            const std::string& what);
/// What a JPEG or PNG file's bytes show, gray or in three colours. Throws tulle::Error (kBadData) that names
/// `file` and `what` it is of it.
Picture decode_picture(std::span<const std::byte> content, const std::string& file, const std::string& what);
/// The same for a file. Throws also kMissingInput, kPermission, kIo.
Picture read_picture(const std::string& path);

/// The top left corner, at most `side` high and wide; 0: all.
Picture crop(const Picture& picture, int side);

/// Resized so that its shorter side has `side` pixels, then its middle of side x side; channels: 1, or 3 (a
/// gray picture is repeated in all, a coloured one refuses to become gray with std::invalid_argument).
/// Resizing looks at all pixels that a new one covers (Mitchell's cubic filter of stb_image_resize).
Picture fit_square(const Picture& picture, int side, int channels);

/// The bytes of a PNG file, or of a JPEG file of quality 1 to 100.
std::string encode_png(const Picture& picture);
std::string encode_jpeg(const Picture& picture, int quality);

}  // namespace tulle

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "tulle/data/array.h"

namespace tulle {

/// The array in the bytes of an .npy file, versions 1 to 3: booleans, whole numbers, floats of 2, 4 and 8
/// bytes and text of fixed length, either byte order, either order of indices. Throws tulle::Error (kBadData)
/// for anything else. Cost: the header; values stay where they are.
Array parse_npy(std::span<const std::byte> bytes, std::string array_name, const std::string& file);

/// What stands before the values of an .npy file, version 1: `type` as NumPy writes it ("<f4", "|S3"),
/// row-major.
std::string npy_head(std::string_view type, std::span<const std::int64_t> shape);

}  // namespace tulle

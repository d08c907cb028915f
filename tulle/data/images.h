#pragma once

#include <string>

#include "tulle/data/readers.h"

namespace tulle {

/// The images below a folder, "[split/]class/file" as read_images() takes them from a tar. Links to images
/// are images of the folder they lie in; links to folders are refused. Throws tulle::Error as the operating
/// system and that do.
RawSplit read_image_folder(const std::string& path, const ReadOptions& options);

}  // namespace tulle

#include "tulle/data/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 100000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

#include "tulle/base/error.h"
#include "tulle/data/archive.h"
#include "tulle/data/gzip.h"
#include "tulle/data/picture.h"

namespace tulle {

ReadBytes read_images;
FitsBytes is_tar;

namespace {

// JPEG and PNG files called "[split/]class/file": the folder a file lies in is its class. All images must be
// of one size; gray ones among coloured ones are repeated in all channels.
constexpr std::int64_t kMostPixels = 100'000'000;

[[noreturn]] void refuse(const std::string& file, std::string_view what, std::string_view found,
                         std::string_view expected) {
  throw Error(ErrorKind::kBadData, {.file = file},
              fmt::format("{}, found {}, expected {}", what, found, expected));
}

bool is_image(const std::string& name) {
  std::string ending = name.substr(std::min(name.rfind('.'), name.size()));
  std::ranges::transform(ending, ending.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

// "train/cat/1.jpg": cat.
std::string class_of(const std::string& name) {
  const std::size_t last = name.rfind('/');
  if (last == std::string::npos || last == 0) return "";
  const std::size_t before = name.rfind('/', last - 1);
  return name.substr(before == std::string::npos ? 0 : before + 1,
                     last - (before == std::string::npos ? 0 : before + 1));
}

struct Image {
  std::string name;
  Picture picture;
};

// Images as they come, gathered into one split.
class Gathering {
 public:
  Gathering(const std::string& file, const ReadOptions& options) : file_(file), options_(options) {}

  bool wants(const std::string& name) const {
    return is_image(name) &&
           (options_.max_rows == 0 || static_cast<std::int64_t>(images_.size()) < options_.max_rows);
  }
  void add(const Member& member) {
    images_.push_back(
        {member.name, decode_picture(member.bytes, file_, fmt::format("image '{}'", member.name))});
    const ImageShape& shape = images_.back().picture.shape;
    const ImageShape& first = images_.front().picture.shape;
    if (shape.width != first.width || shape.height != first.height)
      refuse(file_, fmt::format("image '{}'", member.name),
             fmt::format("{} x {} pixels", shape.width, shape.height),
             fmt::format("{} x {} as in '{}'", first.width, first.height, images_.front().name));
    channels_ = std::max(channels_, shape.channels);
  }

  RawSplit split() const {
    RawSplit split;
    if (images_.empty()) refuse(file_, "images", "none", "JPEG or PNG files in a folder for each class");
    const ImageShape& first = images_.front().picture.shape;
    split.image = {.channels = channels_, .height = first.height, .width = first.width};
    const std::int64_t features = std::int64_t{channels_} * first.height * first.width;
    if (features > 2147483647)
      refuse(file_, "images", fmt::format("{} values each", features), "fewer than 2^31");
    split.inputs = {.samples = static_cast<std::int64_t>(images_.size()),
                    .features = static_cast<std::int32_t>(features),
                    .bytes = {},
                    .floats = {}};
    split.inputs.bytes.reserve(images_.size() * static_cast<std::size_t>(features));
    for (const Image& image : images_) {
      const auto plane = static_cast<std::int64_t>(first.height) * first.width;
      for (int c = 0; c < channels_; ++c) {
        const auto from = image.picture.bytes.begin() + std::min(c, image.picture.shape.channels - 1) * plane;
        split.inputs.bytes.insert(split.inputs.bytes.end(), from, from + plane);
      }
      split.labels.names.push_back(class_of(image.name));
    }
    if (std::ranges::any_of(split.labels.names, &std::string::empty))
      split.labels.names.clear();  // no folders: no labels
    return split;
  }

 private:
  const std::string& file_;
  const ReadOptions& options_;
  std::vector<Image> images_;
  int channels_ = 1;
};

}  // namespace

Picture decode_picture(std::span<const std::byte> content, const std::string& file, const std::string& what) {
  const auto* const bytes = reinterpret_cast<const stbi_uc*>(content.data());
  const auto size = static_cast<int>(std::min<std::size_t>(content.size(), 1u << 30));
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(bytes, size, &width, &height, &channels) == 0)
    refuse(file, what, stbi_failure_reason(), "JPEG or PNG");
  if (std::int64_t{width} * height > kMostPixels)
    refuse(file, what, fmt::format("{} x {} pixels", width, height),
           fmt::format("at most {} pixels", kMostPixels));
  const int wanted = channels <= 2 ? 1 : 3;  // without transparency
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(bytes, size, &width, &height, &channels, wanted), stbi_image_free);
  if (pixels == nullptr) refuse(file, what, stbi_failure_reason(), "whole data");
  Picture picture{.shape = {.channels = wanted, .height = height, .width = width}, .bytes = {}};
  const std::size_t count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  picture.bytes.reserve(count * static_cast<std::size_t>(wanted));
  for (int c = 0; c < wanted; ++c)
    for (std::size_t p = 0; p < count; ++p)
      picture.bytes.push_back(
          pixels.get()[p * static_cast<std::size_t>(wanted) + static_cast<std::size_t>(c)]);
  return picture;
}

Picture read_picture(const std::string& path) { return decode_picture(read_content(path), path, "image"); }

bool is_tar(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.size() >= 512 && text.substr(257, 5) == "ustar";
}

RawSplit read_images(std::span<const std::byte> bytes, const std::string& name, const ReadOptions& options) {
  Gathering gathering(name, options);
  for_members(
      bytes, name, kMaxUnpackedBytes, [&](const std::string& member) { return gathering.wants(member); },
      [&](const Member& member) { gathering.add(member); });
  return gathering.split();
}

RawSplit read_image_folder(const std::string& path, const ReadOptions& options) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), path).generic_string());
  std::ranges::sort(names);
  Gathering gathering(path, options);
  for (const std::string& name : names)
    if (gathering.wants(name)) gathering.add({name, read_content((fs::path(path) / name).string())});
  return gathering.split();
}

}  // namespace tulle

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
#if defined(__clang__)  // an image without data is copied from nothing to nothing: memcpy(null, null, 0)
#pragma clang attribute push(__attribute__((no_sanitize("nonnull-attribute"))), apply_to = function)
#endif
#include <stb/stb_image.h>
#if defined(__clang__)
#pragma clang attribute pop
#endif
#pragma GCC diagnostic pop

#include "tulle/base/error.h"
#include "tulle/base/parallel.h"
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

// "train/cat/1.jpg": train; "cat/1.jpg": nothing.
std::string split_of(const std::string& name) {
  const std::size_t first = name.find('/');
  return first == std::string::npos || name.find('/', first + 1) == std::string::npos ? ""
                                                                                      : name.substr(0, first);
}

bool is_test(const std::string& split) { return split == "test" || split == "val" || split == "valid"; }

struct Image {
  std::string name;
  std::vector<std::byte> bytes;  // of the file
  Picture picture{};             // once it is decoded; no bytes: it is to be left out
};

// Images as they come, gathered into one split. Files are kept as they are until all are there; then they are
// decoded by all threads.
class Gathering {
 public:
  Gathering(const std::string& file, const ReadOptions& options) : file_(file), options_(options) {}

  static bool wants(const std::string& name) { return is_image(name); }
  void add(const Member& member) {
    images_.push_back({member.name, {member.bytes.begin(), member.bytes.end()}});
  }

  RawSplit split() {
    keep_one_split();
    decode();
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
    for (Image& image : images_) {
      const auto plane = static_cast<std::int64_t>(first.height) * first.width;
      for (int c = 0; c < channels_; ++c) {
        const auto from = image.picture.bytes.begin() + std::min(c, image.picture.shape.channels - 1) * plane;
        split.inputs.bytes.insert(split.inputs.bytes.end(), from, from + plane);
      }
      image.picture.bytes = {};
      split.labels.names.push_back(class_of(image.name));
    }
    if (std::ranges::any_of(split.labels.names, &std::string::empty))
      split.labels.names.clear();  // no folders: no labels
    return split;
  }

 private:
  // Where there are training and test images, those that are wanted.
  void keep_one_split() {
    const auto role = [](const Image& image) {
      const std::string split = split_of(image.name);
      return split == "train" ? 1 : is_test(split) ? 2 : 0;
    };
    const bool both = std::ranges::find(images_, 1, role) != images_.end() &&
                      std::ranges::find(images_, 2, role) != images_.end();
    if (both)
      std::erase_if(images_, [&](const Image& i) { return role(i) != (options_.test_images ? 2 : 1); });
    if (options_.max_rows > 0 && static_cast<std::int64_t>(images_.size()) > options_.max_rows)
      images_.resize(static_cast<std::size_t>(options_.max_rows));
  }

  void decode() {
    parallel_ranges(static_cast<std::int64_t>(images_.size()), 1, [&](Range range) {
      for (std::int64_t i = range.begin; i < range.end; ++i) decode(images_[static_cast<std::size_t>(i)]);
    });
    std::erase_if(images_, [](const Image& image) { return image.picture.bytes.empty(); });
    for (const Image& image : images_) {
      const ImageShape& shape = image.picture.shape;
      const ImageShape& first = images_.front().picture.shape;
      if (shape.width != first.width || shape.height != first.height)
        refuse(file_, fmt::format("image '{}'", image.name),
               fmt::format("{} x {} pixels", shape.width, shape.height),
               fmt::format("{} x {} as in '{}' (data.resize makes them alike)", first.width, first.height,
                           images_.front().name));
      channels_ = std::max(channels_, shape.channels);
    }
  }

  void decode(Image& image) const {
    try {
      image.picture = decode_picture(image.bytes, file_, fmt::format("image '{}'", image.name));
    } catch (const Error&) {
      if (!options_.skip_bad_images) throw;
    }
    image.bytes = {};
    if (options_.resize > 0 && !image.picture.bytes.empty())
      image.picture = fit_square(image.picture, options_.resize, image.picture.shape.channels);
  }

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
    if (entry.is_regular_file())
      names.push_back(fs::relative(entry.path(), path).generic_string());
    else if (entry.is_directory() && fs::is_empty(entry.path()))
      refuse(path, fmt::format("folder '{}'", fs::relative(entry.path(), path).generic_string()), "no files",
             "images of the class it is named after");
  std::ranges::sort(names);
  Gathering gathering(path, options);
  for (const std::string& name : names)
    if (gathering.wants(name)) gathering.add({name, read_content((fs::path(path) / name).string())});
  return gathering.split();
}

}  // namespace tulle

#include "tulle/data/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
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

#include "tulle/base/parallel.h"
#include "tulle/data/archive.h"
#include "tulle/data/gzip.h"
#include "tulle/data/picture.h"
#include "tulle/data/refuse.h"

namespace tulle {

ReadBytes read_images;
FitsBytes is_tar;

namespace {

// JPEG and PNG files called "[split/]class/file": the folder a file lies in is its class. All images must be
// of one size; gray ones among coloured ones are repeated in all channels.
constexpr std::int64_t kMostPixels = 100'000'000;

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

// Of training and test images, where there are both, those that are wanted; of these the first max_rows.
std::set<std::string> chosen(std::vector<std::string> names, const ReadOptions& options) {
  const auto role = [](const std::string& name) {
    const std::string split = split_of(name);
    return split == "train" ? 1 : is_test(split) ? 2 : 0;
  };
  const bool both =
      std::ranges::find(names, 1, role) != names.end() && std::ranges::find(names, 2, role) != names.end();
  if (both)
    std::erase_if(names,
                  [&](const std::string& name) { return role(name) != (options.test_images ? 2 : 1); });
  if (options.max_rows > 0 && static_cast<std::int64_t>(names.size()) > options.max_rows)
    names.resize(static_cast<std::size_t>(options.max_rows));
  return {names.begin(), names.end()};
}

// Images as they come, gathered into one split. Files are kept until there are enough for all threads; then
// their pixels take their place.
class Gathering {
 public:
  // Of at most `count` images.
  Gathering(const std::string& file, std::size_t count, const ReadOptions& options)
      : file_(file), count_(count), options_(options) {}

  void add(Member member) {
    waiting_bytes_ += member.bytes.size();
    waiting_.push_back(std::move(member));
    if (waiting_.size() == kMostWaiting || waiting_bytes_ >= kMostBytes) decode();
  }

  RawSplit split() {
    decode();
    if (split_.labels.names.empty())
      refuse(file_, "images", "none", "JPEG or PNG files in a folder for each class");
    if (std::ranges::any_of(split_.labels.names, &std::string::empty))
      split_.labels.names.clear();  // no folders: no labels
    return std::move(split_);
  }

 private:
  static constexpr std::size_t kMostWaiting = 1024, kMostBytes = std::size_t{64} << 20;

  void decode() {
    std::vector<Picture> pictures(waiting_.size());
    parallel_ranges(static_cast<std::int64_t>(waiting_.size()), 1, [&](Range range) {
      for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
        pictures[i] = decoded(waiting_[i]);
    });
    for (std::size_t i = 0; i < pictures.size(); ++i)
      if (!pictures[i].bytes.empty()) append(pictures[i], waiting_[i].name);
    waiting_.clear();
    waiting_bytes_ = 0;
  }

  // Without bytes if it is to be left out.
  Picture decoded(const Member& image) const {
    Picture picture;
    try {
      picture = decode_picture(image.bytes, file_, fmt::format("image '{}'", image.name));
    } catch (const Error&) {
      if (!options_.skip_bad_images) throw;
      return {};
    }
    return options_.resize > 0 ? fit_square(picture, options_.resize, picture.shape.channels) : picture;
  }

  void append(const Picture& picture, const std::string& name) {
    const ImageShape& shape = picture.shape;
    ImageShape& first = split_.image;
    if (split_.inputs.samples == 0) {
      first = shape;
      first_name_ = name;
    }
    if (shape.width != first.width || shape.height != first.height)
      refuse(file_, fmt::format("image '{}'", name), fmt::format("{} x {} pixels", shape.width, shape.height),
             fmt::format("{} x {} as in '{}' (data.resize makes them alike)", first.width, first.height,
                         first_name_));
    if (shape.channels > first.channels || split_.inputs.samples == 0) give_channels(shape.channels);
    append_planes(picture.bytes, shape.channels);
    ++split_.inputs.samples;
    split_.labels.names.push_back(class_of(name));
  }

  // Planes of one image; of a gray one as often as the split has channels.
  void append_planes(std::span<const std::uint8_t> planes, int channels) {
    AlignedVector<std::uint8_t>& to = split_.inputs.bytes;
    const std::size_t plane = planes.size() / static_cast<std::size_t>(channels);
    for (int c = 0; c < split_.image.channels; ++c) {
      const auto from = planes.subspan(static_cast<std::size_t>(std::min(c, channels - 1)) * plane, plane);
      to.insert(to.end(), from.begin(), from.end());
    }
  }

  // To the first image, and to a coloured one after gray ones.
  void give_channels(int channels) {
    Features& inputs = split_.inputs;
    const auto plane = static_cast<std::size_t>(inputs.features);  // of the gray ones
    const AlignedVector<std::uint8_t> gray = std::move(inputs.bytes);
    split_.image.channels = channels;
    inputs.features =
        static_cast<std::int32_t>(std::int64_t{channels} * split_.image.height * split_.image.width);
    inputs.bytes = {};
    inputs.bytes.reserve(count_ * static_cast<std::size_t>(inputs.features));
    for (std::size_t at = 0; at < gray.size(); at += plane)
      append_planes(std::span(gray).subspan(at, plane), 1);
  }

  const std::string& file_;
  std::size_t count_;
  const ReadOptions& options_;
  std::vector<Member> waiting_;
  std::size_t waiting_bytes_ = 0;
  std::string first_name_;
  RawSplit split_;
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
  std::vector<std::string> names;
  const auto collect = [&](const std::string& member) {
    if (is_image(member)) names.push_back(member);
    return false;
  };
  for_members(bytes, name, 0, collect, [](const Member&) {});
  const std::set<std::string> wanted = chosen(std::move(names), options);
  Gathering gathering(name, wanted.size(), options);
  for_members(
      bytes, name, content_limit(), [&](const std::string& member) { return wanted.contains(member); },
      [&](Member member) { gathering.add(std::move(member)); });
  return gathering.split();
}

RawSplit read_image_folder(const std::string& path, const ReadOptions& options) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path)) {
    const std::string name = fs::relative(entry.path(), path).generic_string();
    if (entry.is_regular_file() && is_image(name))
      names.push_back(name);
    else if (entry.is_directory() && fs::is_empty(entry.path()))
      refuse(path, fmt::format("folder '{}'", name), "no files", "images of the class it is named after");
  }
  std::ranges::sort(names);
  const std::set<std::string> wanted = chosen(std::move(names), options);
  Gathering gathering(path, wanted.size(), options);
  for (const std::string& name : wanted)
    gathering.add({name, read_content((fs::path(path) / name).string())});
  return gathering.split();
}

}  // namespace tulle

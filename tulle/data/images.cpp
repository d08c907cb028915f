#include "tulle/data/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <numeric>
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
#include "tulle/base/utf8.h"
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

enum class Role { kAny, kTrain, kTest };

// By the first folder above the class that says so: "train/cat/1.jpg", or "pets/train/cat/1.jpg".
Role role_of(const std::string& name) {
  std::size_t begin = 0;
  for (std::size_t end = name.find('/');
       end != std::string::npos && name.find('/', end + 1) != std::string::npos;
       begin = end + 1, end = name.find('/', begin)) {
    const std::string split = name.substr(begin, end - begin);
    if (split == "train") return Role::kTrain;
    if (split == "test" || split == "val" || split == "valid") return Role::kTest;
  }
  return Role::kAny;
}

// Of training and test images, where there are both, those that are wanted; of these the first max_rows.
std::set<std::string> chosen(std::vector<std::string> names, const ReadOptions& options) {
  const bool both = std::ranges::find(names, Role::kTrain, role_of) != names.end() &&
                    std::ranges::find(names, Role::kTest, role_of) != names.end();
  const Role wanted = options.test_images ? Role::kTest : Role::kTrain;
  if (both) std::erase_if(names, [&](const std::string& name) { return role_of(name) != wanted; });
  if (options.max_rows > 0 && static_cast<std::int64_t>(names.size()) > options.max_rows)
    names.resize(static_cast<std::size_t>(options.max_rows));
  return {names.begin(), names.end()};
}

// What is the same for all images: their size, and as many channels as the one with most has.
class CommonShape {
 public:
  explicit CommonShape(const std::string& file) : file_(file) {}

  /// Takes in one more.
  void meet(const ImageShape& shape, const std::string& name) {
    if (shape_.channels == 0) shape_ = shape, first_name_ = name;
    if (shape.width != shape_.width || shape.height != shape_.height)
      refuse(file_, fmt::format("image '{}'", name), fmt::format("{} x {} pixels", shape.width, shape.height),
             fmt::format("{} x {} as in '{}' (data.resize makes them alike)", shape_.width, shape_.height,
                         first_name_));
    shape_.channels = std::max(shape_.channels, shape.channels);
  }

  const ImageShape& shape() const { return shape_; }
  std::int32_t features() const {
    return static_cast<std::int32_t>(std::int64_t{shape_.channels} * shape_.height * shape_.width);
  }

 private:
  std::string file_, first_name_;
  ImageShape shape_;
};

Picture decoded(std::span<const std::byte> content, const std::string& file, const std::string& name,
                int resize) {
  Picture picture = decode_picture(content, file, fmt::format("image '{}'", name));
  if (resize <= 0) return picture;
  // Its shorter side is scaled to `resize`: the longer one of a thin image could become anything.
  const std::int64_t width = picture.shape.width, height = picture.shape.height;
  if (std::max(width, height) * resize / std::min(width, height) * resize > kMostPixels)
    refuse(file, fmt::format("image '{}'", name), fmt::format("{} x {} pixels", width, height),
           fmt::format("at most {} pixels once its shorter side has {}", kMostPixels, resize));
  return fit_square(picture, resize, picture.shape.channels);
}

// Pixels of one image in its planes; those of a gray one as often as there are channels.
template <class Value>
void copy_planes(const Picture& picture, int channels, Value* out) {
  const std::size_t plane = picture.bytes.size() / static_cast<std::size_t>(picture.shape.channels);
  for (int c = 0; c < channels; ++c)
    out = std::copy_n(
        picture.bytes.data() + static_cast<std::size_t>(std::min(c, picture.shape.channels - 1)) * plane,
        plane, out);
}

void check_labels(const std::string& file, RawLabels& labels) {
  if (labels.names.empty()) refuse(file, "images", "none", "JPEG or PNG files in a folder for each class");
  if (std::ranges::any_of(labels.names, &std::string::empty)) labels.names.clear();  // no folders: no labels
  for (const std::string& name : labels.names)
    if (valid_utf8_length(name) != name.size())
      refuse(file, fmt::format("folder '{}'", name), "another encoding", "a name in UTF-8");
}

// Images as they come, gathered into one split. Files are kept until there are enough for all threads; then
// their pixels take their place.
class Gathering {
 public:
  // Of at most `count` images.
  Gathering(const std::string& file, std::size_t count, const ReadOptions& options)
      : file_(file), count_(count), options_(options), common_(file) {}

  void add(Member member) {
    waiting_bytes_ += member.bytes.size();
    waiting_.push_back(std::move(member));
    if (waiting_.size() == kMostWaiting || waiting_bytes_ >= kMostBytes) decode();
  }

  RawSplit split() {
    decode();
    check_labels(file_, split_.labels);
    split_.image = common_.shape();
    return std::move(split_);
  }

 private:
  static constexpr std::size_t kMostWaiting = 1024, kMostBytes = std::size_t{64} << 20;

  void decode() {
    std::vector<Picture> pictures(waiting_.size());
    parallel_ranges(static_cast<std::int64_t>(waiting_.size()), 1, [&](Range range) {
      for (auto i = static_cast<std::size_t>(range.begin); i < static_cast<std::size_t>(range.end); ++i)
        pictures[i] = decoded_unless_bad(waiting_[i]);
    });
    for (std::size_t i = 0; i < pictures.size(); ++i)
      if (!pictures[i].bytes.empty()) append(pictures[i], waiting_[i].name);
    waiting_.clear();
    waiting_bytes_ = 0;
  }

  // Without bytes if it is to be left out.
  Picture decoded_unless_bad(const Member& image) const {
    try {
      return decoded(image.bytes, file_, image.name, options_.resize);
    } catch (const Error&) {
      if (!options_.skip_bad_images) throw;
      return {};
    }
  }

  void append(const Picture& picture, const std::string& name) {
    Features& inputs = split_.inputs;
    const std::int32_t before = inputs.features;
    common_.meet(picture.shape, name);
    inputs.features = common_.features();
    if (inputs.features != before) widen(before);
    inputs.bytes.resize(inputs.bytes.size() + static_cast<std::size_t>(inputs.features));
    copy_planes(picture, common_.shape().channels, &*(inputs.bytes.end() - inputs.features));
    ++inputs.samples;
    split_.labels.names.push_back(class_of(name));
  }

  // For the first image, and for a coloured one after gray ones.
  void widen(std::int32_t gray) {
    Features& inputs = split_.inputs;
    const AlignedVector<std::uint8_t> planes = std::move(inputs.bytes);
    inputs.bytes = {};
    inputs.bytes.reserve(count_ * static_cast<std::size_t>(inputs.features));
    for (auto plane = planes.begin(); plane != planes.end(); plane += gray)
      for (int c = 0; c < common_.shape().channels; ++c)
        inputs.bytes.insert(inputs.bytes.end(), plane, plane + gray);
  }

  const std::string& file_;
  std::size_t count_;
  const ReadOptions& options_;
  std::vector<Member> waiting_;
  std::size_t waiting_bytes_ = 0;
  CommonShape common_;
  RawSplit split_;
};

// Images whose files stay as they are; of a folder, where they are.
class EncodedImages final : public SampleSource {
 public:
  EncodedImages(const std::string& file, int resize) : file_(file), resize_(resize), common_(file) {}

  // Looks at its header. in_folder: its bytes are read again whenever they are asked for.
  void add(Member image, bool in_folder) {
    ImageShape shape = shape_of_picture(image.bytes, file_, fmt::format("image '{}'", image.name));
    if (resize_ > 0) shape.height = shape.width = resize_;
    common_.meet(shape, image.name);
    identity_ = checksum(image.bytes, checksum(std::as_bytes(std::span(image.name)), identity_));
    const std::span<const std::byte> kept = in_folder ? std::span<const std::byte>() : keep(image.bytes);
    images_.push_back({std::move(image.name), kept});
    bytes_ += kept.size() + images_.back().name.size() + sizeof(images_.back());
  }

  void row(std::uint32_t sample, std::span<float> out) const override {
    const Encoded& image = images_[sample];
    Content read;
    if (image.bytes.empty()) read = read_content((std::filesystem::path(file_) / image.name).string());
    const Picture picture = decoded(image.bytes.empty() ? std::span<const std::byte>(read) : image.bytes,
                                    file_, image.name, resize_);
    if (picture.shape.height != common_.shape().height || picture.shape.width != common_.shape().width)
      refuse(file_, fmt::format("image '{}'", image.name), "another size than at the start", "the same");
    copy_planes(picture, common_.shape().channels, out.data());
  }
  std::int64_t bytes() const override { return static_cast<std::int64_t>(bytes_); }
  std::uint64_t identity() const override { return identity_; }

  static RawSplit split_of(std::shared_ptr<const EncodedImages> source) {
    RawSplit split;
    for (const Encoded& image : source->images_) split.labels.names.push_back(class_of(image.name));
    check_labels(source->file_, split.labels);
    split.image = source->common_.shape();
    split.inputs.samples = std::ssize(source->images_);
    split.inputs.features = source->common_.features();
    split.inputs.generated.samples.resize(source->images_.size());
    std::iota(split.inputs.generated.samples.begin(), split.inputs.generated.samples.end(), 0u);
    split.inputs.generated.source = std::move(source);
    return split;
  }

 private:
  struct Encoded {
    std::string name;
    std::span<const std::byte> bytes;  // none: they lie in the folder
  };

  // Many images share a block: with data.scratch each block is a file that stays open.
  std::span<const std::byte> keep(std::span<const std::byte> bytes) {
    if (blocks_.empty() || blocks_.back().capacity() - blocks_.back().size() < bytes.size())
      blocks_.emplace_back().reserve(std::max({bytes.size(), bytes_ / 4, std::size_t{1} << 20}));
    Content& block = blocks_.back();
    const auto first = block.insert(block.end(), bytes.begin(), bytes.end());
    return {block.data() + (first - block.begin()), bytes.size()};
  }

  std::string file_;
  int resize_;
  std::vector<Encoded> images_;
  std::vector<Content> blocks_;
  std::size_t bytes_ = 0;
  std::uint64_t identity_ = 0;
  CommonShape common_;
};

// for_images(take): take(member) for each of `count` images.
template <class ForImages>
RawSplit read_split(const std::string& file, std::size_t count, bool in_folder, const ReadOptions& options,
                    const ForImages& for_images) {
  if (options.decode_late) {
    const auto images = std::make_shared<EncodedImages>(file, options.resize);
    for_images([&](Member image) { images->add(std::move(image), in_folder); });
    return EncodedImages::split_of(images);
  }
  Gathering gathering(file, count, options);
  for_images([&](Member image) { gathering.add(std::move(image)); });
  return gathering.split();
}

int size_for_stb(std::span<const std::byte> content) {
  return static_cast<int>(std::min<std::size_t>(content.size(), 1u << 30));
}

}  // namespace

ImageShape shape_of_picture(std::span<const std::byte> content, const std::string& file,
                            const std::string& what) {
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(content.data()), size_for_stb(content), &width,
                            &height, &channels) == 0)
    refuse(file, what, stbi_failure_reason(), "JPEG or PNG");
  if (std::int64_t{width} * height > kMostPixels)
    refuse(file, what, fmt::format("{} x {} pixels", width, height),
           fmt::format("at most {} pixels", kMostPixels));
  return {.channels = channels <= 2 ? 1 : 3, .height = height, .width = width};  // without transparency
}

Picture decode_picture(std::span<const std::byte> content, const std::string& file, const std::string& what) {
  Picture picture{.shape = shape_of_picture(content, file, what), .bytes = {}};
  const int wanted = picture.shape.channels;
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(content.data()), size_for_stb(content), &width,
                            &height, &channels, wanted),
      stbi_image_free);
  if (pixels == nullptr) refuse(file, what, stbi_failure_reason(), "whole data");
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
  return read_split(name, wanted.size(), /*in_folder=*/false, options, [&](const auto& take) {
    for_members(
        bytes, name, content_limit(), [&](const std::string& member) { return wanted.contains(member); },
        take);
  });
}

RawSplit read_image_folder(const std::string& path, const ReadOptions& options) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path)) {
    // Not fs::relative(), which goes to where a link points.
    const std::string name = entry.path().lexically_relative(path).generic_string();
    std::error_code ignored;  // of a link that leads nowhere or in a circle
    const bool link = entry.is_symlink(), folder = entry.is_directory(ignored);
    if (link && folder)
      refuse(path, fmt::format("folder '{}'", name), "a link to one", "a folder of its own");
    if (is_image(name) && entry.is_regular_file(ignored))
      names.push_back(name);
    else if (is_image(name) && link && !options.skip_bad_images)
      refuse(path, fmt::format("image '{}'", name), "a link to no file", "a file");
    else if (folder && fs::is_empty(entry.path()))
      refuse(path, fmt::format("folder '{}'", name), "no files", "images of the class it is named after");
  }
  std::ranges::sort(names);
  const std::set<std::string> wanted = chosen(std::move(names), options);
  return read_split(path, wanted.size(), /*in_folder=*/true, options, [&](const auto& take) {
    for (const std::string& name : wanted) take(Member{name, read_content((fs::path(path) / name).string())});
  });
}

}  // namespace tulle

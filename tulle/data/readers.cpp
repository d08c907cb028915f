#include "tulle/data/readers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "tulle/base/error.h"
#include "tulle/base/name_table.h"
#include "tulle/data/gzip.h"

namespace tulle {

ReadBytes read_idx, read_csv;
FitsBytes is_idx, is_text;

namespace {

// To add a reader: its file, its names above, one line here. `auto` takes the first that fits.
constexpr ReaderInfo kReaders[] = {
    {"auto", "decided by the content, then by the name"},
    {"idx",
     "IDX as MNIST has it, plain or .gz; labels in a file of their own",
     read_idx,
     is_idx,
     {"ubyte", ".idx"}},
    {"csv",
     "separated values, plain or .gz; quotes, header, label column",
     read_csv,
     is_text,
     {".csv", ".tsv"}},
    {"fashion-mnist", "the files of Debian's package dataset-fashion-mnist"},
};

bool has_ending(const ReaderInfo& reader, std::string_view path) {
  if (path.ends_with(".gz")) path.remove_suffix(3);
  return std::any_of(reader.endings.begin(), reader.endings.end(),
                     [path](std::string_view ending) { return !ending.empty() && path.ends_with(ending); });
}

const ReaderInfo& choose(const std::string& format, std::span<const std::byte> bytes,
                         const std::string& path) {
  const ReaderInfo& named = find_name(readers(), "data.format", format == "fashion-mnist" ? "idx" : format);
  if (named.read != nullptr) return named;
  for (const ReaderInfo& reader : kReaders)
    if (reader.fits != nullptr && reader.fits(bytes)) return reader;
  for (const ReaderInfo& reader : kReaders)
    if (has_ending(reader, path)) return reader;
  throw Error(ErrorKind::kBadData, {.file = path},
              "format, found none that is known, expected IDX or separated values; data.format names one");
}

}  // namespace

std::span<const ReaderInfo> readers() { return kReaders; }

RawSplit read_file(const std::string& format, const std::string& path, const ReadOptions& options) {
  const std::vector<std::byte> bytes = read_content(path);
  const ReaderInfo& reader = choose(format, bytes, path);
  RawSplit split = reader.read(bytes, path, options);
  split.reader = reader.name;
  return split;
}

RawLabels read_labels(const std::string& format, const std::string& path, const ReadOptions& options) {
  ReadOptions label_options = options;
  label_options.label_column = "first";
  RawSplit split = read_file(format, path, label_options);
  if (split.inputs.features != 0)
    throw Error(ErrorKind::kBadData, {.file = path},
                fmt::format("label file, found {} features, expected labels alone", split.inputs.features));
  return std::move(split.labels);
}

FashionMnistFiles find_fashion_mnist() {
  const char* const variable = std::getenv("TULLE_FASHION_MNIST");
  const std::filesystem::path folder = variable != nullptr ? variable : "/usr/share/datasets/fashion-mnist";
  FashionMnistFiles files{folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz",
                          folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"};
  std::error_code ignored;
  for (const std::string& file : {files.train, files.train_labels, files.test, files.test_labels})
    if (!std::filesystem::exists(file, ignored))
      throw Error(ErrorKind::kMissingInput, {.file = file},
                  "Fashion-MNIST is not installed; Debian's package dataset-fashion-mnist brings it, or "
                  "TULLE_FASHION_MNIST names its folder");
  return files;
}

}  // namespace tulle
